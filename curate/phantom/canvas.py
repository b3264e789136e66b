"""A voxel grid to paint solids on, and the way from it to anatomical coordinates."""

from dataclasses import dataclass

import numpy as np

from curate.phantom.shapes import Field, Matrix, Points, TissueRegion, Vector, as_field
from curate.phantom.tissues import FIRST_INNER_ID, TISSUE_ID, TISSUES
from manifests.volumes.grid import Grid

TISSUE_IDS = np.arange(len(TISSUES))


@dataclass(frozen=True)
class Wave:
    """A plane wave: `amplitude * sin(radians_per_mm . position + phase)`, position in LPS mm."""

    radians_per_mm: Vector
    phase: float
    amplitude: float


@dataclass(frozen=True)
class Frame:
    """How a patient lies in the scanner.

    Attributes:
        to_anatomy: Turns and stretches a vector from `shift_mm` into anatomical coordinates.
        shift_mm: Where the second lumbar vertebra lies in the scanner's LPS frame.
        warp: What is added to the anatomical x, y and z: waves of a few mm.
    """

    to_anatomy: Matrix
    shift_mm: Vector
    warp: tuple[tuple[Wave, ...], tuple[Wave, ...], tuple[Wave, ...]]

    def points(self, grid: Grid) -> Points:
        """Return the anatomical coordinates (mm) of all voxels: three arrays [z, y, x]."""
        matrix = np.array(self.to_anatomy)
        steps = matrix @ grid.steps_mm
        start = matrix @ (np.array(grid.origin_mm) - self.shift_mm)
        i, j, k = (np.arange(count, dtype=np.float32) for count in grid.size_xyz)
        x, y, z = (
            wave_sum(self.warp[axis], grid)
            + (np.float32(start[axis]) + np.float32(steps[axis, 0]) * i)
            + np.float32(steps[axis, 1]) * j[:, None]
            + np.float32(steps[axis, 2]) * k[:, None, None]
            for axis in range(3)
        )
        return as_field(x), as_field(y), as_field(z)


class Canvas:
    """The tissue ids of a grid's voxels, over which solids are painted."""

    def __init__(self, frame: Frame, grid: Grid) -> None:
        """Work out where the voxels lie; the canvas is empty air."""
        self.points = frame.points(grid)
        self.tissues = np.full(self.points[0].shape, TISSUE_ID["air"], dtype=np.uint8)
        self._size = np.array(grid.size_xyz)
        # the most that the warp can add along each axis
        self._reach = np.array([sum(abs(wave.amplitude) for wave in w) for w in frame.warp])
        back = np.linalg.inv(grid.steps_mm)
        self._to_index = back @ np.linalg.inv(np.array(frame.to_anatomy))
        self._first = back @ (np.array(frame.shift_mm) - grid.origin_mm)

    def paint(self, region: TissueRegion) -> None:
        """Paint a region, each of its solids in the box that it can reach."""
        over = [TISSUE_ID[name] for name in region.over]
        may = np.isin(TISSUE_IDS, over) if over else TISSUE_IDS >= FIRST_INNER_ID
        for solid in region.solids:
            box = self._box(solid.box_mm())
            view = self.tissues[box]
            if view.size == 0:
                continue
            local = (self.points[0][box], self.points[1][box], self.points[2][box])
            inside = may[view] & (solid.level(local) < 1.0)
            for cut in region.cuts:
                inside &= cut.level(local) >= 1.0
            view[inside] = TISSUE_ID[region.tissue]

    def _box(self, corners_mm: tuple[Vector, Vector]) -> tuple[slice, slice, slice]:
        """Return the voxels that may lie in an anatomical box, whatever the warp does."""
        low, high = np.array(corners_mm)
        centre = self._to_index @ ((low + high) / 2.0) + self._first
        half = np.abs(self._to_index) @ ((high - low) / 2.0 + self._reach)
        first = np.clip(np.floor(centre - half), 0, self._size).astype(int)
        last = np.clip(np.ceil(centre + half) + 1, 0, self._size).astype(int)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return z, y, x


def wave_sum(waves: tuple[Wave, ...], grid: Grid) -> Field:
    """Return the sum of plane waves at all voxels [z, y, x]: one matrix product, hardly a sine."""
    x, y, z = grid.size_xyz
    planes, lines = [], []
    for wave in waves:
        steps = np.array(wave.radians_per_mm) @ grid.steps_mm
        start = float(np.dot(wave.radians_per_mm, grid.origin_mm)) + wave.phase
        i, j, k = (
            np.exp(1j * step * np.arange(count))
            for step, count in zip(steps, grid.size_xyz, strict=True)
        )
        plane = (wave.amplitude * np.exp(1j * start) * k[:, None] * j).ravel()
        # sin(a + b) = sin a cos b + cos a sin b, as the imaginary part of a product
        planes += [plane.imag, plane.real]
        lines += [i.real, i.imag]
    left = np.stack(planes, axis=1).astype(np.float32)
    right = np.stack(lines).astype(np.float32)
    return (left @ right).reshape(z, y, x)
