"""Facts that a manifest holds of each dataset as a whole: its source, terms and acceptance."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from manifests.ground.errors import ManifestError, explain

SETTINGS_KEY = "datasets"


class Acceptance(BaseModel):
    """How and when (in UTC) a user accepted a dataset's licence, as the recipe named it then."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    licence: str
    accepted_at: datetime
    accepted_by: str


class DatasetFacts(BaseModel):
    """What a recipe says of its dataset as a whole.

    Attributes:
        licence: SPDX name, or words.
        share_alike: Whether what is made of it must have the same licence; None if not known.
        acceptance: Of the licence; None if nothing had to be downloaded.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    version: str
    licence: str
    commercial_use: bool
    share_alike: bool | None = None
    citation: str
    homepage: str = ""
    remarks: tuple[str, ...] = ()
    acceptance: Acceptance | None = None


_by_dataset = TypeAdapter(dict[str, DatasetFacts])


def facts_of(settings: Mapping[str, Any]) -> dict[str, DatasetFacts]:
    """Return the facts in a manifest's settings, by dataset; an older manifest may have none.

    Raises:
        ManifestError: They are damaged.
    """
    try:
        return _by_dataset.validate_python(settings.get(SETTINGS_KEY, {}))
    except ValidationError as error:
        raise ManifestError(explain(error, "the manifest's facts about its datasets")) from error


def as_settings(facts: Mapping[str, DatasetFacts]) -> dict[str, Any]:
    """Return facts as the entry of a manifest's settings."""
    return {SETTINGS_KEY: {name: f.model_dump(mode="json") for name, f in facts.items()}}
