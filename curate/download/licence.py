"""The user's word that a dataset's licence is accepted, kept beside what is downloaded."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from curate.recipes.schema import Recipe, shipped_recipes
from manifests.ground.atomic import write_text
from manifests.ground.errors import SourceError
from manifests.ground.near_names import did_you_mean
from manifests.table.dataset_facts import Acceptance

NAME = "licence.json"
ALL = "all"

Ask = Callable[[Recipe], bool]  # asks a person whether the licence is accepted


def read_acceptance(recipe: Recipe, raw: Path) -> Acceptance | None:
    """Return the acceptance of the licence that the recipe names today, if there is one."""
    try:
        found = Acceptance.model_validate_json((raw / recipe.name / NAME).read_bytes())
    except (OSError, ValidationError):
        return None
    return found if (found.dataset, found.licence) == (recipe.name, recipe.licence) else None


def require_licences(
    recipes: Sequence[Recipe], raw: Path, accepted: Collection[str], ask: Ask | None
) -> None:
    """Have the licence of every dataset accepted, once for all: by name, by `all`, or by asking.

    Raises:
        SourceError: A licence was not accepted, or an option names no dataset.
    """
    by_name = {r.name: r for r in recipes}
    known = {ALL, *shipped_recipes(), *by_name}
    if unknown := sorted(set(accepted) - known):
        near = did_you_mean(unknown[0], known)
        msg = (
            f"--accept-licence names {', '.join(unknown)}{near}: expected some of "
            f"{', '.join(sorted(known))}"
        )
        raise SourceError(msg)
    open_ = [r for r in by_name.values() if read_acceptance(r, raw) is None]
    if refused := [r for r in open_ if not _accept(r, raw, accepted, ask)]:
        lines = [f"  {r.name}: {terms(r)}" for r in refused]
        names = " ".join(f"--accept-licence {r.name}" for r in refused)
        first = "not downloaded, since the licence was not accepted:"
        last = (
            f"read it, and if you accept it, say {names}; if you mean other datasets, name their "
            f"recipes: without names, prepare takes the paper's five"
        )
        raise SourceError("\n".join([first, *lines, last]))


def terms(recipe: Recipe) -> str:
    """Return a dataset's licence in one line."""
    use = "" if recipe.commercial_use else ", no commercial use"
    where = f" (see {recipe.homepage})" if recipe.homepage else ""
    return f"{recipe.licence}{use}{where}"


def _accept(recipe: Recipe, raw: Path, accepted: Collection[str], ask: Ask | None) -> bool:
    named = next((n for n in (recipe.name, ALL) if n in accepted), None)
    if named is None and not (ask and ask(recipe)):
        return False
    acceptance = Acceptance(
        dataset=recipe.name,
        licence=recipe.licence,
        accepted_at=datetime.now(UTC),
        accepted_by=f"--accept-licence {named}" if named else "asked on the terminal",
    )
    write_text(raw / recipe.name / NAME, acceptance.model_dump_json(indent=2) + "\n")
    return True
