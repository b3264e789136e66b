"""The record beside a dataset's harmonised cases: what its recipe tells people, and its licence."""

from pathlib import Path

from pydantic import ValidationError

from curate.download.licence import read_acceptance
from curate.recipes.schema import Recipe
from manifests.ground.atomic import write_text
from manifests.table.dataset_facts import DatasetFacts

NAME = "dataset.json"


def facts_now(recipe: Recipe, raw: Path, known: DatasetFacts | None) -> DatasetFacts:
    """Return what a recipe says today.

    Args:
        recipe: The dataset.
        raw: Where its download left the licence's acceptance.
        known: What was said before; an acceptance of the same licence stays on record when the
            download is gone.
    """
    before = known.acceptance if known and known.licence == recipe.licence else None
    return DatasetFacts(
        title=recipe.title,
        version=recipe.version,
        licence=recipe.licence,
        commercial_use=recipe.commercial_use,
        citation=recipe.citation,
        homepage=recipe.homepage,
        remarks=tuple(
            f"{', '.join(r.cases)}: {r.text}" if r.cases else r.text for r in recipe.remarks
        ),
        acceptance=read_acceptance(recipe, raw) or before,
    )


def read_facts(folder: Path) -> DatasetFacts | None:
    """Read what was said of the dataset whose cases lie in a folder."""
    try:
        return DatasetFacts.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_facts(folder: Path, facts: DatasetFacts) -> None:
    """Keep what is said of a dataset beside its cases."""
    write_text(folder / NAME, facts.model_dump_json(indent=1) + "\n")
