"""The record beside a dataset's harmonised cases: what its recipe tells people, and its licence."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from curate.download.licence import read_acceptance
from curate.recipes.schema import Recipe
from manifests.ground.atomic import write_text
from manifests.table.dataset_facts import DatasetFacts

NAME = "dataset.json"


def update_facts(
    datasets: Iterable[str], recipes: Mapping[str, Recipe], folder: Path, raw: Path
) -> dict[str, DatasetFacts]:
    """Return what is known of each dataset, and keep it beside the dataset's cases.

    What recipes say today counts, with the licences' acceptances that their downloads left in
    `raw`; of a dataset without a recipe, what was kept before.
    """
    facts: dict[str, DatasetFacts] = {}
    for name in sorted(datasets):
        path = folder / "cases" / name / NAME
        known = now = _read(path)
        if name in recipes:
            now = _facts_now(recipes[name], raw, known)
        if now and now != known:
            write_text(path, now.model_dump_json(indent=1) + "\n")
        if now:
            facts[name] = now
    return facts


def _facts_now(recipe: Recipe, raw: Path, known: DatasetFacts | None) -> DatasetFacts:
    # An acceptance of the same licence stays on record when the download is gone.
    before = known.acceptance if known and known.licence == recipe.licence else None
    names = {"title", "version", "licence", "commercial_use", "share_alike", "citation", "homepage"}
    return DatasetFacts(
        **recipe.model_dump(include=names),
        remarks=(
            *(f"{', '.join(r.cases)}: {r.text}" if r.cases else r.text for r in recipe.remarks),
            *recipe.doubts,
        ),
        acceptance=read_acceptance(recipe, raw) or before,
    )


def _read(path: Path) -> DatasetFacts | None:
    try:
        return DatasetFacts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
