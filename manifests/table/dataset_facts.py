"""What a manifest tells of its datasets as a whole: on which terms, from whom, accepted when."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from manifests.ground.errors import ManifestError, explain

SETTINGS_KEY = "datasets"


class Acceptance(BaseModel):
    """Who accepted what, and when.

    Attributes:
        dataset: The recipe's name.
        licence: As the recipe named it then.
        accepted_at: In UTC.
        accepted_by: The option that said so, or that somebody was asked.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    licence: str
    accepted_at: datetime
    accepted_by: str


class DatasetFacts(BaseModel):
    """What a recipe tells of its dataset, beside what holds for each case.

    Attributes:
        title: The dataset's full name.
        version: The recipe's.
        licence: SPDX name, or words.
        commercial_use: Whether the licence allows it.
        citation: What to cite.
        homepage: Where it is published.
        remarks: What is known of it, or of some of its cases.
        acceptance: Of the licence; None where nothing had to be downloaded.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    version: str
    licence: str
    commercial_use: bool
    citation: str
    homepage: str = ""
    remarks: tuple[str, ...] = ()
    acceptance: Acceptance | None = None


_by_dataset = TypeAdapter(dict[str, DatasetFacts])


def facts_of(settings: Mapping[str, Any]) -> dict[str, DatasetFacts]:
    """The facts in a manifest's settings, by dataset; an older manifest may have none.

    Raises:
        ManifestError: They are damaged.
    """
    try:
        return _by_dataset.validate_python(settings.get(SETTINGS_KEY, {}))
    except ValidationError as error:
        raise ManifestError(explain(error, "the manifest's facts about its datasets")) from error


def as_settings(facts: Mapping[str, DatasetFacts]) -> dict[str, Any]:
    """The same as the entry of a manifest's settings."""
    return {SETTINGS_KEY: {name: f.model_dump(mode="json") for name, f in facts.items()}}
