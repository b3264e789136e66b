"""What every part of a recipe is: facts that are checked and do not change."""

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Keys that are known, with values that are what they are to be; anything else is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
