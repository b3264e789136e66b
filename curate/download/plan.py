"""What is to be downloaded for which dataset, and what of it is there; nothing is fetched here."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from curate.datasets.locate import Location, locate, where_to_get
from curate.download.part_file import part_bytes
from curate.download.remote_file import RemoteFile
from curate.recipes.layouts import PairsLayout
from curate.recipes.schema import Recipe
from curate.recipes.sources import (
    Checksum,
    DownloadedSource,
    GitSource,
    HandSource,
    HttpSource,
    HuggingFaceSource,
    SynapseSource,
    read_checksums,
)
from manifests.ground.errors import SourceError

PARTIAL = "partial"  # the folder where files grow; it is there while a download is under way


@dataclass(frozen=True)
class PlannedFile:
    """One file of a source.

    Attributes:
        state: Whether it is `there`, was published `outdated`, or is `missing`.
        part_bytes: What an earlier run left of it.
    """

    file: RemoteFile
    path: str
    state: Literal["there", "outdated", "missing"]
    part_bytes: int = 0


@dataclass(frozen=True)
class PlannedSource:
    """One source of a dataset, with the dataset's folder and all of the source's files."""

    recipe: Recipe
    source: DownloadedSource
    root: Path
    files: tuple[PlannedFile, ...]

    @cached_property
    def to_fetch(self) -> tuple[PlannedFile, ...]:
        """The files that are not there as they are to be."""
        return tuple(f for f in self.files if f.state != "there")

    @property
    def size_bytes(self) -> int | None:
        """All of the source, exactly or about, if the recipe says so."""
        sizes = [f.file.size_bytes for f in self.files]
        if None not in sizes:
            return sum(filter(None, sizes))
        return None if isinstance(self.source, GitSource) else self.source.about_bytes

    @property
    def to_fetch_bytes(self) -> int | None:
        """What is to come over the network, exactly or about."""
        sizes = [f.file.size_bytes for f in self.to_fetch]
        kept = sum(f.part_bytes for f in self.to_fetch)
        if None not in sizes:
            return sum(filter(None, sizes)) - kept
        if self.size_bytes is None:
            return None
        return max(0, self.size_bytes * len(self.to_fetch) // len(self.files) - kept)


def plan_missing(
    recipes: Sequence[Recipe], raw: Path, *, unpacked: Path | None = None
) -> list[PlannedSource]:
    """Return the sources of the datasets that are not there, or whose download was cut short.

    Each dataset is looked for below `raw`, and below the folder of its name in `unpacked`.

    Raises:
        RecipeError: A source's table of checksums is not well formed.
    """
    sources = []
    for recipe in recipes:
        found = _find(recipe, raw, unpacked and unpacked / recipe.name)
        if not found or (found.kind == "folder" and (found.path / PARTIAL).is_dir()):
            sources += _plan(recipe, raw, found)
    return sources


def plan_download(recipe: Recipe, raw: Path) -> list[PlannedSource]:
    """Return what a dataset's sources have, and what of it is there.

    Raises:
        RecipeError: A source's table of checksums is not well formed.
    """
    return _plan(recipe, raw, _find(recipe, raw))


def left_to_people(recipes: Sequence[Recipe], raw: Path) -> list[str]:
    """Say of each dataset that is not there, and that is not downloaded, where it can be had."""
    by_hand = [r for r in recipes if all(isinstance(s, HandSource) for s in r.sources)]
    return [f"{r.name}: {where_to_get(r)}" for r in by_hand if not _find(r, raw)]


def _find(recipe: Recipe, raw: Path, unpacked: Path | None = None) -> Location | None:
    """Return where a dataset lies; a repository may lie there in part."""
    try:
        return locate(recipe, raw, unpacked or raw)
    except SourceError:
        return None


def _plan(recipe: Recipe, raw: Path, found: Location | None) -> list[PlannedSource]:
    root = found.path if found and found.kind == "folder" else raw / recipe.name
    return [
        PlannedSource(recipe, source, root, tuple(_files(recipe, source, root, found)))
        for source in recipe.sources
        if not isinstance(source, HandSource)
    ]


def _files(
    recipe: Recipe, source: DownloadedSource, root: Path, found: Location | None
) -> Iterator[PlannedFile]:
    if isinstance(source, HttpSource | SynapseSource):
        yield _archive(recipe, source, root, found)
        return
    checksums: dict[str, Checksum | None]
    if isinstance(source, HuggingFaceSource):
        checksums = dict.fromkeys(source.paths)
    else:
        checksums = {row.path: row for row in read_checksums(source)}
    for path, checksum in checksums.items():
        places = (root / place for place in (path, *_other_places(recipe, source, path)))
        here = next((place for place in places if place.is_file()), None)
        file = RemoteFile(
            name=f"{recipe.name}/{path}",
            url=_url(source, path),
            target=here or root / path,
            part=root / PARTIAL / f"{path}.part",
            size_bytes=checksum.size_bytes if checksum else None,
            md5=checksum.md5 if checksum else None,
            homepage=recipe.homepage,
        )
        in_archive = found and found.kind == "archive"  # whose content shows when it is unpacked
        if in_archive or (here and (checksum is None or checksum.fits(here))):
            yield PlannedFile(file, path, "there")
        else:
            state = "outdated" if here else "missing"
            yield PlannedFile(file, path, state, _kept_bytes(file, checksum))


def _archive(
    recipe: Recipe, source: HttpSource | SynapseSource, root: Path, found: Location | None
) -> PlannedFile:
    is_http = isinstance(source, HttpSource)
    file = RemoteFile(
        name=f"{recipe.name}/{source.file}",
        url=source.url if is_http else f"synapse:{source.synapse_id}",
        target=root / source.file,
        part=root / PARTIAL / f"{source.file}.part",
        size_bytes=source.bytes if is_http else None,
        md5=source.md5,
        sha256=source.sha256 if is_http else None,
        homepage=recipe.homepage,
    )
    if found:
        return PlannedFile(file, source.file, "there")
    return PlannedFile(file, source.file, "missing", part_bytes(file))


def _kept_bytes(file: RemoteFile, checksum: Checksum | None) -> int:
    """Return what an earlier run left; whether it is of use shows when the file is looked up."""
    if checksum:
        return part_bytes(file)
    return file.part.stat().st_size if file.part.is_file() else 0


def _url(source: HuggingFaceSource | GitSource, path: str) -> str:
    if isinstance(source, GitSource):
        return source.url.replace("{revision}", source.revision).replace("{path}", path)
    return f"hf://datasets/{source.repository}@{source.revision}/{path}"  # until it is looked up


def _other_places(
    recipe: Recipe, source: HuggingFaceSource | GitSource, path: str
) -> Iterator[str]:
    """Yield where else the layout allows a file of the repository to lie."""
    layout = recipe.layout
    case = re.fullmatch(re.escape(source.files).replace(r"\{case\}", "(.+)"), path)
    if case is None or not isinstance(layout, PairsLayout):
        return
    for patterns in (layout.images, layout.labels):
        if source.files in patterns:
            yield from (p.replace("{case}", case[1]) for p in patterns)
