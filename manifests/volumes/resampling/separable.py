"""Resampling one axis after the other, where the axes of two grids are parallel.

Along one axis, resampling is a product with a matrix whose entries lie near its diagonal. It is
done in blocks around that, in single precision, by the matrix products of the processor's BLAS.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifests.volumes.grid import EDGE_TOLERANCE, Grid

Interpolation = Literal["linear", "cubic"]
FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]  # [voxels to fill, voxels of the source]
Values = NDArray[np.float32]  # [z, y, x]

PARALLEL_TOLERANCE = 1e-3  # voxels that a position may be off an axis at the far end of the grid
NEGLIGIBLE = 1e-6  # of a weight: less than a hundredth of a Hounsfield unit
DIGITS = 9
BLOCK = 32


@dataclass(frozen=True)
class Axis:
    """One axis of a grid to fill, and what it runs through.

    Attributes:
        along: The source's axis that is parallel to it; 0 is x.
        flipped: Whether that axis runs the other way.
        first: Where its first voxel lies, in voxels of the source, from its near end.
        step: From one voxel to the next, in voxels of the source.
        count: Its voxels.
        size: The source's voxels along it.
    """

    along: int
    flipped: bool
    first: float
    step: float
    count: int
    size: int

    @property
    def index(self) -> FloatArray:
        """Where its voxels lie, in voxels of the source."""
        return self.first + self.step * np.arange(self.count, dtype=np.float64)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which of its voxels have their centre within the source's outer edges."""
        low, high = -0.5 - EDGE_TOLERANCE, self.size - 0.5 + EDGE_TOLERANCE
        return (self.index > low) & (self.index < high)

    def weights(self, interpolation: Interpolation) -> Weights:
        """Return the weights of the source's voxels; beyond the edges that of the edge."""
        weigh = _linear if interpolation == "linear" else _cubic
        return weigh(self.index, self.size)

    def mean_weights(self) -> Weights:
        """Return linear weights averaged over each voxel, in parts no larger than the source's."""
        parts = max(1, math.ceil(self.step - EDGE_TOLERANCE))
        within = ((np.arange(parts) + 0.5) / parts - 0.5) * self.step
        fine = _linear((self.index[:, None] + within).ravel(), self.size)
        return fine.reshape(self.count, parts, self.size).mean(axis=1)


def parallel_axes(source: Grid, grid: Grid) -> tuple[Axis, Axis, Axis] | None:
    """Return the x, y and z axes of a grid to fill; None if the source's are not parallel."""
    steps = np.linalg.inv(source.steps_mm) @ grid.steps_mm
    first = source.index_xyz(grid.origin_mm)
    along = np.abs(steps).argmax(axis=0)
    if len(set(along.tolist())) < 3:
        return None
    off_axis = np.abs(steps) * np.asarray(grid.size_xyz)
    off_axis[along, range(3)] = 0
    if off_axis.max() > PARALLEL_TOLERANCE:
        return None
    sizes = source.size_xyz
    x, y, z = (
        Axis(
            along=int(a),
            flipped=bool(steps[a, j] < 0),
            # so that the same voxels in another order of storage give the same bits
            first=round(float(sizes[a] - 1 - first[a] if steps[a, j] < 0 else first[a]), DIGITS),
            step=round(abs(float(steps[a, j])), DIGITS),
            count=grid.size_xyz[j],
            size=sizes[a],
        )
        for j, a in enumerate(along)
    )
    return x, y, z


def along_axes(voxels: NDArray[Any], axes: Sequence[Axis]) -> NDArray[Any]:
    """Return a view of a source's voxels [z, y, x] with the axes of the grid to fill."""
    zyx = axes[::-1]
    flips = tuple(slice(None, None, -1 if axis.flipped else 1) for axis in zyx)
    return voxels.transpose([2 - axis.along for axis in zyx])[flips]


def weighted_sums(
    voxels: NDArray[Any],
    weights_zyx: Sequence[Weights],
    take: Callable[[slice, Values], None],
) -> None:
    """Multiply an array [z, y, x] by the weights of each of its axes.

    `take` is given some layers of the result at a time, and where they belong along z.
    """
    z, y, x = weights_zyx
    rows = np.zeros((len(y), voxels.shape[2]), np.float32)
    blocks_y, blocks_x = list(_blocks(y)), [(at, of, w.T.copy()) for at, of, w in _blocks(x)]
    blocks_z = list(_blocks(z))
    most = max((of.stop - of.start for _, of, _ in blocks_z), default=0)
    # as many layers as one block needs; the next block begins with some of them
    layers = np.zeros((most, len(y), len(x)), np.float32)
    first = done = 0  # the numbers of those that are there: from the first up to that
    for at, of, part in blocks_z:
        if not part.any():  # beyond the ends
            take(at, np.zeros((len(part), len(y), len(x)), np.float32))
            continue
        kept = max(done - of.start, 0)
        if kept:
            layers[:kept] = layers[of.start - first : done - first]
        for number in range(max(done, of.start), of.stop):
            plane = voxels[number].astype(np.float32, order="C")
            for to, used, weights in blocks_y:
                np.matmul(weights, plane[used], out=rows[to])
            for to, used, weights in blocks_x:
                np.matmul(rows[:, used], weights, out=layers[number - of.start][:, to])
        first, done = of.start, max(done, of.stop)
        flat = layers[: of.stop - of.start].reshape(of.stop - of.start, -1)
        take(at, (part @ flat).reshape(-1, len(y), len(x)))


def _blocks(weights: Weights) -> Iterator[tuple[slice, slice, Weights]]:
    """Yield some rows of a matrix at a time, the columns that they use, and that block of it."""
    for first in range(0, len(weights), BLOCK):
        rows = weights[first : first + BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        yield slice(first, first + len(rows)), columns, np.ascontiguousarray(rows[:, columns])


def _linear(index: FloatArray, size: int) -> Weights:
    index = np.clip(index, 0, size - 1)
    below = np.minimum(index.astype(np.int64), max(size - 2, 0))
    weights = np.zeros((len(index), size), np.float32)
    row = np.arange(len(index))
    weights[row, below] = 1 - (index - below)
    weights[row, np.minimum(below + 1, size - 1)] += index - below
    return weights


def _cubic(index: FloatArray, size: int) -> Weights:
    """Return the weights of the interpolating cubic B-spline, mirrored at both ends."""
    if size == 1:
        return _linear(index, size)
    from scipy import ndimage  # slow to import

    index = np.clip(index, 0, size - 1)
    to_coefficients = ndimage.spline_filter1d(np.eye(size), 3, axis=0, mode="mirror")
    below = np.floor(index).astype(np.int64)
    t = index - below
    basis = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t * (1 + t * (1 - t)), t**3)
    weights = np.zeros((len(index), size))
    for step, values in enumerate(basis, start=-1):
        place = np.abs(below + step)
        place = size - 1 - np.abs(size - 1 - place)
        weights += values[:, None] / 6 * to_coefficients[place]
    weights[np.abs(weights) < NEGLIGIBLE] = 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
