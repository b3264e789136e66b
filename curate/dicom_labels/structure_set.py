"""RTSTRUCT: the contours of its regions, as masks on the grid of an image."""

import importlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.contour_filling import filled
from curate.dicom_labels.contour_planes import Planes, check_lattice
from curate.dicom_labels.file_head import unreadable
from curate.dicom_labels.label_objects import coordinates
from curate.dicom_labels.slice_place import TOLERANCE_VOXELS
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid

ENCLOSING = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR", "POINT")
DIGITS = 6  # behind the point of an index, within which two contours are the same

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Contour:
    """One contour.

    Attributes:
        what: Which one it is, for a message.
        points: Indices x, y, z in the image, fractions allowed [n, 3].
    """

    what: str
    points: Points

    @property
    def depth(self) -> float:
        """Index z of its plane."""
        return float(self.points[:, 2].mean())


@dataclass(frozen=True)
class StructureSet:
    """A file whose contours are filled by their physical positions."""

    path: Path

    def mask(self, numbers: Collection[int], grid: Grid) -> tuple[NDArray[np.bool_], list[Finding]]:
        """Return the union of regions on an image's grid [z, y, x], and what was noticed.

        Raises:
            SetAsideError: The file is damaged, or its contours cannot be filled.
        """
        voxels, findings = np.zeros(grid.size_xyz[::-1], np.bool_), list[Finding]()
        try:
            for number in sorted(numbers):
                findings += self._fill(voxels, number, grid)
        except SetAsideError:
            raise
        except Exception as error:  # pydicom raises what its parts do, whatever a file holds
            raise unreadable(self.path, error) from error
        return voxels, findings

    def _fill(self, voxels: NDArray[np.bool_], number: int, grid: Grid) -> Iterator[Finding]:
        """Add one region to a mask, and yield what was noticed."""
        listed = [*self._contours(number, grid)]
        contours = _each_once(c for c in listed if c.points.size)
        where = f"{self.path.name}: region {number}"
        if len(contours) < len(listed):
            reason = f"{where}: {len(listed) - len(contours)} of {len(listed)}"
            yield Finding("contours_left_out", reason)
        if not contours:
            return
        points = np.concatenate([c.points for c in contours])
        check_lattice(points, grid, f"{self.path}: region {number}")
        yield from self._outside(points, grid, number)
        planes = Planes.of([c.depth for c in contours])
        if told := planes.describe(grid):
            yield Finding("contours_between_slices", f"{where}: {told}")
        for z, chosen in planes.by_slice(len(voxels)):
            flat = [contours[n].points[:, :2] for n in chosen]
            voxels[z] |= filled(flat, voxels.shape[1:])

    def _outside(self, points: Points, grid: Grid, number: int) -> Iterator[Finding]:
        last = np.array(grid.size_xyz) - 1
        outside = int(((points < -1) | (points > last + 1)).any(axis=1).sum())
        reason = (
            f"{self.path}: region {number}: ContourData (3006,0050): expected positions within the "
            f"image; got {outside} of {len(points)} points outside"
        )
        if outside == len(points):
            raise SetAsideError(Finding("grid_mismatch", reason))
        if outside:
            yield Finding("contours_outside", reason)

    def _contours(self, number: int, grid: Grid) -> Iterator[Contour]:
        """Yield the contours of a region; without points those that enclose nothing."""
        for n, item in enumerate(self._by_number[number], start=1):
            what = f"{self.path}: region {number}, contour {n}"
            if str(item.get("ContourGeometricType", ENCLOSING[0])) not in ENCLOSING:
                yield Contour(what, np.empty((0, 3)))
                continue
            told, found = item.get("NumberOfContourPoints"), coordinates(item)
            if len(found) % 3 or (told is not None and len(found) != 3 * int(told)):
                expected = f"three numbers for each of {told or 'its'} points"
                raise _unusable(what, expected, f"{len(found)} numbers")
            if not np.isfinite(found).all():
                raise _unusable(what, "finite numbers", "others")
            points = grid.index_xyz(found.reshape(-1, 3))
            if len(points) and np.ptp(points[:, 2]) > 2 * TOLERANCE_VOXELS:
                off = f"one that spans {np.ptp(points[:, 2]):.3g} slices"
                raise _unusable(what, "a contour that lies in a plane of the image's slices", off)
            yield Contour(what, points)

    @cached_property
    def _by_number(self) -> dict[int, list[Any]]:
        dataset = importlib.import_module("pydicom").dcmread(self.path, force=True)
        found = defaultdict[int, list[Any]](list)
        for item in dataset.ROIContourSequence:
            found[int(item.ReferencedROINumber)] += item.get("ContourSequence") or []
        return found


def _each_once(contours: Iterator[Contour]) -> list[Contour]:
    """Return contours without those that were listed before: twice would be a hole."""
    return [*{c.points.round(DIGITS).tobytes(): c for c in contours}.values()]


def _unusable(what: str, expected: str, got: str) -> SetAsideError:
    reason = f"{what}: ContourData (3006,0050): expected {expected}, got {got}"
    return SetAsideError(Finding("contours_unusable", reason))
