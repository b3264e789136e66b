"""DICOM SEG: the frames of its segments, as masks on the grid of an image."""

import importlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.file_head import is_deflated, unreadable
from curate.dicom_labels.slice_place import TOLERANCE_VOXELS, Slice, paint, place_of
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid

# which prints what is wrong with a file before it raises it
logging.getLogger("highdicom").addHandler(logging.NullHandler())

FRACTIONAL, LABELMAP = "FRACTIONAL", "LABELMAP"


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: From 0 on.
        segment: Number of its segment; None in a LABELMAP, whose voxels are numbers of segments.
    """

    index: int
    segment: int | None
    where: Slice


@dataclass(frozen=True)
class Segmentation:
    """A file that is read frame by frame, since frames without a voxel may be left out."""

    path: Path
    threshold: float

    def mask(self, numbers: Collection[int], grid: Grid) -> tuple[NDArray[np.bool_], list[Finding]]:
        """Return the union of segments on an image's grid [z, y, x], and what was noticed.

        Raises:
            SetAsideError: The file is damaged, or its frames do not lie on the grid.
        """
        voxels = np.zeros(grid.size_xyz[::-1], np.bool_)
        try:
            for frame in self._frames:
                if frame.segment is None or frame.segment in numbers:
                    self._paint(voxels, frame, numbers, grid)
        except SetAsideError:
            raise
        except Exception as error:  # highdicom raises what its parts do, whatever a file holds
            raise unreadable(self.path, error) from error
        if self._kind != FRACTIONAL:
            return voxels, []
        reason = f"{self.path.name}: voxels of at least {self.threshold:g} of the greatest value"
        return voxels, [Finding("label_thresholded", reason)]

    def _paint(
        self, voxels: NDArray[np.bool_], frame: Frame, numbers: Collection[int], grid: Grid
    ) -> None:
        shape = (int(self._file.Rows), int(self._file.Columns))
        place = place_of(frame.where, shape, grid)
        what = f"{self.path}: frame {frame.index + 1}"
        if place is None or place.off > TOLERANCE_VOXELS:
            off = (
                "its axes or its pixel spacing are others" if place is None else f"{place.off:.3g}"
            )
            reason = (
                f"{what}: expected a slice of the image's grid, within {TOLERANCE_VOXELS} voxels, "
                f"by ImagePositionPatient (0020,0032); got {off}: {frame.where}, and the image has "
                f"spacing {grid.spacing_mm}, origin {grid.origin_mm}, direction "
                f"{grid.direction_lps}"
            )
            raise SetAsideError(Finding("grid_mismatch", reason))
        if paint(voxels, self._chosen(frame, numbers), place):
            reason = (
                f"{what}: expected voxels within the image of {grid.size_xyz} voxels, got some "
                f"outside: its first one is {place.low}"
            )
            raise SetAsideError(Finding("grid_mismatch", reason))

    def _chosen(self, frame: Frame, numbers: Collection[int]) -> NDArray[np.bool_]:
        stored = self._file.get_stored_frame(frame.index, as_index=True)
        if self._kind == LABELMAP:
            return np.isin(stored, [*numbers])
        if self._kind == FRACTIONAL:
            return stored >= self.threshold * float(self._file.MaximumFractionalValue)
        return stored > 0

    @cached_property
    def _file(self) -> Any:  # noqa: ANN401
        read = importlib.import_module("highdicom.seg").segread
        if is_deflated(self.path):  # which it cannot read frame by frame
            return read(self.path)
        lazy = read(self.path, lazy_frame_retrieval=True)
        # highdicom 0.28.2 takes such frames for whole bytes if it reads them one by one
        ends_within_byte = lazy.BitsAllocated == 1 and lazy.Rows * lazy.Columns % 8
        return read(self.path) if ends_within_byte else lazy

    @cached_property
    def _kind(self) -> str:
        return str(self._file.SegmentationType)

    @cached_property
    def _frames(self) -> list[Frame]:
        return [*self._listed()]

    def _listed(self) -> Iterator[Frame]:
        shared = self._file.SharedFunctionalGroupsSequence[0]
        for index, own in enumerate(self._file.PerFrameFunctionalGroupsSequence):

            def of_frame(name: str, own: Any = own) -> Any:  # noqa: ANN401
                return (own.get(name) or shared[name])[0]

            place = Slice(
                _numbers(of_frame("PlanePositionSequence").ImagePositionPatient, 3),
                _numbers(of_frame("PlaneOrientationSequence").ImageOrientationPatient, 6),
                _numbers(of_frame("PixelMeasuresSequence").PixelSpacing, 2),
            )
            of_one = self._kind != LABELMAP
            told = of_frame("SegmentIdentificationSequence") if of_one else None
            yield Frame(index, int(told.ReferencedSegmentNumber) if told else None, place)


def _numbers(values: Any, count: int) -> tuple[float, ...]:  # noqa: ANN401
    found = tuple(float(v) for v in values)
    if len(found) != count or not np.isfinite(found).all():
        msg = f"expected {count} finite numbers, got {found}"
        raise ValueError(msg)
    return found
