"""The segmentation of a case that 3D Slicer saved, and the masks that a recipe's names mean."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.dicom_label import meant, not_meant
from curate.dicom_labels.label_objects import SNOMED, Segment
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.alignment import align
from manifests.volumes.grid import Grid
from manifests.volumes.readers.slicer import SlicerSegment, read_segments
from manifests.volumes.volume import Volume, read_layered

TERMS = "TerminologyEntry:"


@dataclass(frozen=True)
class SlicerLabel:
    """The segments of one file; they refer to no series."""

    path: Path

    @property
    def series(self) -> frozenset[str]:
        """UIDs of the series that the file refers to: none."""
        return frozenset()

    @property
    def names(self) -> list[str]:
        """Names of all segments, each once, in the order of the file."""
        return list(dict.fromkeys(s.name for s in self._segments))

    def of_series(self, _image: Path) -> "SlicerLabel":
        """Return the label itself."""
        return self

    def has(self, name: str) -> bool:
        """Return whether there is a segment that a name of a recipe means."""
        return bool(self._meant(name))

    def mask(self, name: str, grid: Grid) -> tuple[NDArray[np.bool_], list[Finding]]:
        """Return the union of the segments that a name means, on an image's grid [z, y, x].

        Raises:
            SetAsideError: There is none, or the file is damaged or lies on another grid.
        """
        chosen = self._meant(name)
        if not chosen:
            raise not_meant(self.path, name, self.names)
        voxels, findings = np.zeros(grid.size_xyz[::-1], np.bool_), list[Finding]()
        for number in sorted({s.layer for s in chosen}):
            layer, noticed = self._on_grid(number, grid)
            voxels |= np.isin(layer, [s.value for s in chosen if s.layer == number])
            findings += noticed
        return voxels, findings

    def _meant(self, name: str) -> list[SlicerSegment]:
        described = map(_described, range(1, len(self._segments) + 1), self._segments)
        return [s for s, d in zip(self._segments, described, strict=True) if meant(name, d)]

    def _on_grid(self, number: int, grid: Grid) -> tuple[NDArray[Any], list[Finding]]:
        if not 0 <= number < len(self._layers):
            reason = f"{self.path}: expected {len(self._layers)} layers, from 0 on; got {number}"
            raise SetAsideError(Finding("unreadable", reason))
        layer = self._layers[number]
        voxels, findings = align(layer, grid, self.path)
        return voxels, [*layer.findings, *findings]

    @cached_property
    def _segments(self) -> list[SlicerSegment]:
        return read_segments(self.path)

    @cached_property
    def _layers(self) -> list[Volume]:
        return read_layered(self.path)


def _described(number: int, segment: SlicerSegment) -> Segment:
    """Return a segment with the SNOMED CT codes of its terminology.

    The terms stand between `~`: context, category, type, what modifies it, context of the
    anatomy, region, what modifies that. Each is `scheme^code^meaning`.
    """
    entry = next((t for t in segment.tags.split("|") if t.startswith(TERMS)), "")
    terms = [_code(term) for term in entry.split("~")]
    kind, *others = terms[2:] or [""]
    return Segment(number, segment.name, kind, frozenset(others) - {""})


def _code(term: str) -> str:
    scheme, _, rest = term.partition("^")
    return rest.partition("^")[0] if scheme == SNOMED else ""
