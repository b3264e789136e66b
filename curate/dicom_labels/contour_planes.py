"""Which slices of an image the contours of a region belong to, and whether they fit its pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.slice_place import TOLERANCE_VOXELS
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid

SAME_PLANE = 0.1  # slices
REGULAR = 0.1  # of the distance of planes
EXACT = 1e-3  # slices
# Pixels that differ by more are not square; a point on the lattice of voxels is off it by less.
SQUARE, ON_LATTICE = 1e-3, 0.01
FEWEST_POINTS = 4
MOST_OFF, MOST_ON = 0.9, 0.99  # shares of points on the lattice

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Planes:
    """The planes of a region's contours.

    Attributes:
        depths: Index z of each plane in the image, ascending.
        members: The contours of each plane.
        step: Distance of the planes that stand for a solid, in slices.
    """

    depths: Vector
    members: tuple[tuple[int, ...], ...]
    step: float

    @classmethod
    def of(cls, depths: Sequence[float]) -> "Planes":
        """Group contours by the index z of their planes."""
        order = np.argsort(depths, kind="stable")
        ordered = np.asarray(depths)[order]
        parts = np.split(order, np.flatnonzero(np.diff(ordered) > SAME_PLANE) + 1)
        middles = np.array([np.asarray(depths)[part].mean() for part in parts])
        return cls(middles, tuple(tuple(part.tolist()) for part in parts), _step(middles))

    def by_slice(self, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield slices of an image, and the contours of the plane that is nearest to each.

        A plane stands for a slab as thick as the planes are apart. If all of the slabs lie between
        two slices, the nearer slice has the plane in the middle.
        """
        middle = len(self.depths) // 2
        chosen = self._within_slabs(count) or {int(np.rint(self.depths[middle])): middle}
        yield from ((z, self.members[n]) for z, n in chosen.items() if 0 <= z < count)

    def _within_slabs(self, count: int) -> dict[int, int]:
        """Return the nearest plane of each slice that lies in a slab."""
        half = self.step / 2
        low, high = np.floor(self.depths[0] - half), np.ceil(self.depths[-1] + half)
        slices = range(int(max(low, 0)), int(min(high, count - 1)) + 1)
        nearest = {z: int(np.abs(self.depths - z).argmin()) for z in slices}
        # of two slices that are equally far away, the plane has the upper one
        return {
            z: n for z, n in nearest.items() if -half + EXACT < z - self.depths[n] <= half + EXACT
        }

    def describe(self, grid: Grid) -> str:
        """Say how the planes lie between slices; empty if each one is a slice."""
        off, slice_mm = np.abs(self.depths - np.rint(self.depths)).max(), grid.spacing_mm[2]
        told: list[str] = []
        if off > TOLERANCE_VOXELS:
            told.append(f"planes lie up to {off * slice_mm:.3g} mm from slices")
        if abs(self.step - 1) > REGULAR:
            told.append(f"planes are {self.step * slice_mm:.3g} mm apart, slices {slice_mm:.3g} mm")
        return " and ".join(told) + "; each slice took the nearest plane" if told else ""


def _step(depths: Vector) -> float:
    """Return the distance of planes if most are equally far apart, and else that of slices."""
    gaps = np.diff(depths)
    if len(gaps) < 2:
        return 1.0
    usual = float(np.median(gaps))
    regular = np.abs(gaps / usual - 1) < REGULAR
    return usual if regular.mean() > 0.5 else 1.0


def check_lattice(points: Vector, grid: Grid, what: str) -> None:
    """Refuse contours that were written with the two pixel spacings exchanged.

    Programs that trace the voxels of a mask put every point on a voxel's centre, or on its border.
    Where pixels are not square, the points of one that exchanges the spacings lie there only if
    they are exchanged again.

    Args:
        points: Indices x, y, z [n, 3].
        grid: The image's.
        what: The file and the region.

    Raises:
        SetAsideError: They seem to be exchanged.
    """
    x_mm, y_mm, _ = grid.spacing_mm
    if abs(x_mm / y_mm - 1) < SQUARE or len(points) < FEWEST_POINTS:
        return
    exchanged = points[:, :2] * (x_mm / y_mm, y_mm / x_mm)
    for parts in (1, 2):  # centres, then borders
        if _share(points[:, :2] * parts) < MOST_OFF and _share(exchanged * parts) > MOST_ON:
            reason = (
                f"{what}: ContourData (3006,0050): expected points that fit pixels of {x_mm:g} x "
                f"{y_mm:g} mm (columns, rows); got such as fit {y_mm:g} x {x_mm:g} mm: whoever "
                f"wrote them exchanged the two numbers of PixelSpacing (0028,0030); write the "
                f"file with another program"
            )
            raise SetAsideError(Finding("contours_unusable", reason))


def _share(indices: Vector) -> float:
    """Return the share of points that lie on whole numbers."""
    return float((np.abs(indices - np.rint(indices)) < ON_LATTICE).all(axis=1).mean())
