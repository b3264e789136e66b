"""Where a dataset lies below the folder that a user points at."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from curate.recipes.layouts import DecathlonLayout, files_like
from curate.recipes.schema import Recipe
from curate.recipes.sources import HandSource, HttpSource, SynapseSource
from manifests.ground.errors import SourceError


@dataclass(frozen=True)
class Location:
    """The root folder of a dataset, or an archive that is still to be unpacked."""

    kind: Literal["folder", "archive"]
    path: Path


def locate(recipe: Recipe, raw: Path, unpacked: Path) -> Location:
    """Find a dataset: unpacked earlier, as a folder, or as an archive, in this order.

    The places are the folder that its archive is unpacked to, the user's folder `raw`, and the
    subfolder of that with the dataset's name.

    Raises:
        SourceError: It is in none of them.
    """
    places = [unpacked, raw, raw / recipe.name]
    for root in (r for place in places for r in _roots(recipe, place)):
        return Location("folder", root)
    for place, pattern in product(places[1:], recipe.layout.archives):
        for archive in filter(Path.is_file, sorted(place.glob(pattern))):
            return Location("archive", archive)
    raise SourceError(_not_found(recipe, raw))


def root_of(recipe: Recipe, folder: Path) -> Path:
    """Find the dataset's root in the folder that an archive was unpacked to.

    Raises:
        SourceError: The archive does not hold the dataset.
    """
    for root in _roots(recipe, folder):
        return root
    found = sorted(p.name for p in folder.iterdir())[:5]
    msg = (
        f"{recipe.name}: the archive unpacked to {folder} does not hold the dataset: expected "
        f"{_expected(recipe)} below one of {', '.join(recipe.layout.roots)}; got {found}"
    )
    raise SourceError(msg)


def _roots(recipe: Recipe, place: Path) -> Iterator[Path]:
    named = (p for pattern in recipe.layout.roots for p in sorted(place.glob(pattern)))
    yield from (p for p in (*named, place) if p.is_dir() and _holds(recipe, p))


def _holds(recipe: Recipe, root: Path) -> bool:
    layout = recipe.layout
    if isinstance(layout, DecathlonLayout):
        return (root / layout.index).is_file()
    return any(any(files_like(root, p)) for p in layout.labels)


def _expected(recipe: Recipe) -> str:
    layout = recipe.layout
    return layout.index if isinstance(layout, DecathlonLayout) else " or ".join(layout.labels)


def _not_found(recipe: Recipe, raw: Path) -> str:
    archives = ", ".join(recipe.layout.archives)
    packed = f"an archive named like {archives}, or " if archives else ""
    places = f"{raw} or {raw / recipe.name}" if raw.exists() else f"{raw}, which does not exist"
    return (
        f"{recipe.name}: not found under {places}: expected {packed}a folder "
        f"named like {', '.join(recipe.layout.roots)} that holds {_expected(recipe)}. "
        f"{where_to_get(recipe)}"
    ).rstrip()


def where_to_get(recipe: Recipe) -> str:
    """Say where people can get a dataset themselves."""
    if by_hand := [s for s in recipe.sources if isinstance(s, HandSource)]:
        files = ", ".join(
            f"{s.file} at {s.url}{f' (md5 {s.md5})' if s.md5 else ''}" for s in by_hand
        )
        return f"Get and unpack {files}"
    for source in recipe.sources:
        if isinstance(source, HttpSource):
            return f"Get it at {source.url}"
        if isinstance(source, SynapseSource):
            return f"Get {source.file} at Synapse ({source.synapse_id}, project {source.project})"
    return f"See {recipe.homepage}" if recipe.homepage else ""
