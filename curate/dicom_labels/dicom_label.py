"""The DICOM label of a case: its files, and the masks that the names of a recipe mean."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.label_objects import (
    LabelObject,
    Segment,
    label_files,
    read_label_object,
)
from curate.dicom_labels.segmentation import Segmentation
from curate.dicom_labels.structure_set import StructureSet
from curate.recipes.expression_match import match_in_time
from curate.recipes.layouts import DicomLayout
from curate.recipes.segment_names import codes_in, expression_in, number_in
from manifests.ground.content_hash import files_of
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.readers.dicom import series_of

MOST_NAMED = 10  # segments in a message


@dataclass(frozen=True)
class DicomLabel:
    """The segments of one or several files that refer to one series.

    Attributes:
        threshold: Share of the greatest value from which on a voxel of a FRACTIONAL SEG counts.
    """

    place: Path
    objects: tuple[LabelObject, ...]
    threshold: float

    @property
    def series(self) -> frozenset[str]:
        """UIDs of the series that the files refer to."""
        return frozenset[str]().union(*(o.series for o in self.objects))

    @property
    def names(self) -> list[str]:
        """Names of all segments, each once, in the order of the files."""
        return list(dict.fromkeys(s.name for o in self.objects for s in o.segments))

    def of_series(self, image: Path) -> "DicomLabel":
        """Return what refers to the series of an image, if the files refer to several.

        Raises:
            SetAsideError: Several of these series are in the image's folder.
        """
        if len(self.series) < 2:
            return self
        there = self.series & {series_of(path) for path in files_of(image)}
        if len(there) > 1:
            reason = (
                f"{self.place}: the labels refer to {len(there)} series of {image}: expected one "
                f"in the folder of a case; got {', '.join(sorted(there))}"
            )
            raise SetAsideError(Finding("files_ambiguous", reason))
        kept = tuple(o for o in self.objects if not o.series or o.series & there)
        return replace(self, objects=kept) if there else self

    def has(self, name: str) -> bool:
        """Return whether there is a segment that a name of a recipe means."""
        return any(meant(name, s) for o in self.objects for s in o.segments)

    def mask(self, name: str, grid: Grid) -> tuple[NDArray[np.bool_], list[Finding]]:
        """Return the union of the segments that a name means, on an image's grid [z, y, x].

        Raises:
            SetAsideError: There is none, several files have one of them, or it cannot be read.
        """
        chosen = [(n, s) for n, o in enumerate(self.objects) for s in o.segments if meant(name, s)]
        if not chosen:
            raise not_meant(self.place, name, self.names)
        self._check_files(name, chosen)
        voxels, findings = np.zeros(grid.size_xyz[::-1], np.bool_), list[Finding]()
        for n, reader in enumerate(self._readers):
            if numbers := {s.number for at, s in chosen if at == n}:
                found, noticed = reader.mask(numbers, grid)
                voxels |= found
                findings += noticed
        return voxels, findings

    def _check_files(self, name: str, chosen: Iterable[tuple[int, Segment]]) -> None:
        files = {(s.name, at) for at, s in chosen}
        twice = [called for called, n in Counter(called for called, _ in files).items() if n > 1]
        if twice:
            some = ", ".join(str(self.objects[at].path) for called, at in sorted(files))
            reason = (
                f"{self.place}: expected one file with a segment {twice[0]!r}, meant by {name!r}; "
                f"got it in {some}: move the others away, or say `modality` in [layout]"
            )
            raise SetAsideError(Finding("files_ambiguous", reason))

    @cached_property
    def _readers(self) -> list[Segmentation | StructureSet]:
        return [
            StructureSet(o.path)
            if o.modality == "RTSTRUCT"
            else Segmentation(o.path, self.threshold)
            for o in self.objects
        ]


def open_label(place: Path, layout: DicomLayout) -> DicomLabel:
    """Read the headers of a DICOM SEG or RTSTRUCT, or of those in a folder.

    Raises:
        SetAsideError: There is none, or one is damaged.
    """
    if not place.exists():
        raise SetAsideError(Finding("file_missing", f"{place} does not exist"))
    files = label_files(place, layout.modality)
    if not files:
        wanted = layout.modality or "SEG or RTSTRUCT"
        reason = (
            f"{place}: expected a DICOM {wanted}, by its SOP class (0002,0002); got no such file"
        )
        raise SetAsideError(Finding("file_missing", reason))
    return DicomLabel(place, tuple(map(read_label_object, files)), layout.threshold)


def meant(name: str, segment: Segment) -> bool:
    """Return whether a name of a recipe means a segment: its number, codes or whole name."""
    number, codes = number_in(name), codes_in(name)
    if number is not None:
        return segment.number == number
    if codes:
        return segment.kind == codes[0] and segment.codes.issuperset(codes[1:])
    match = expression_in(name).fullmatch
    found = match_in_time(match, segment.name, key="name", expression=name, table="names")
    return found is not None


def not_meant(place: Path, name: str, names: Sequence[str]) -> SetAsideError:
    """Return the error that a name of a recipe means none of a label's segments."""
    more = ", ..." if len(names) > MOST_NAMED else ""
    some = ", ".join(map(repr, names[:MOST_NAMED])) + more
    reason = f"{place}: no segment is meant by {name!r}: expected one of {some}"
    return SetAsideError(Finding("file_missing", reason))


def referred(
    images: Sequence[Path], labels: Sequence[Path], layout: DicomLayout
) -> tuple[list[Path], list[Path]]:
    """Choose, of several images and labels of a case, those that belong together.

    Folders without a label are left out, and so are images and labels of other series. One file
    stands for an image's folder.

    Returns:
        Images and labels; more than one of a kind if they do not say what belongs together.
    """
    kept = [p for p in labels if len(labels) == 1 or label_files(p, layout.modality)] or [*labels]
    if len(images) == 1 and len(kept) == 1:
        return [*images], kept
    series = {path: _series_of_label(path, layout) for path in kept}
    shown = {path: series_of(next(iter(files_of(path)), path)) or "" for path in images}
    wanted = frozenset[str]().union(*series.values())
    chosen = [path for path, uid in shown.items() if uid in wanted] or [*images]
    there = {shown[path] for path in chosen}
    return chosen, [path for path in kept if series[path] & there] or kept


def _series_of_label(place: Path, layout: DicomLayout) -> frozenset[str]:
    try:
        return open_label(place, layout).series
    except SetAsideError:  # told when it is read
        return frozenset()
