"""Run-length encoded masks: the voxels as runs along the fastest array axis.

A mask of 512 x 512 x 1059 voxels has some hundred thousand runs, so its components, volumes and
cuts cost little time and memory wherever its voxels lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bool = NDArray[np.bool_]

CHUNK_VOXELS = 2**21
# The rows before a row that touch it, as steps in (z, y).
NEIGHBOUR_ROWS = ((0, -1), (-1, -1), (-1, 0), (-1, 1))


@dataclass(frozen=True)
class RunLengthMask:
    """A mask as n runs of voxels, in the order of the array; arrays of shape [n].

    Attributes:
        grid: Of the mask.
        row: Number of the row that a run lies in, `z * size_y + y`.
        start: First voxel along x.
        stop: One beyond the last voxel along x.
    """

    grid: Grid
    row: Ints
    start: Ints
    stop: Ints

    @classmethod
    def of(cls, mask: Volume) -> Self:
        """Encode a mask's nonzero voxels."""
        size_x = mask.grid.size_xyz[0]
        rows = mask.voxels.reshape(-1, size_x)
        filled = np.flatnonzero(rows.any(axis=1))
        parts = [np.zeros((3, 0), np.int64)]
        step = max(1, CHUNK_VOXELS // size_x)
        for some in (filled[i : i + step] for i in range(0, len(filled), step)):
            # a margin on both sides, so that every run has two ends in its own row
            padded = np.zeros((len(some), size_x + 2), np.bool_)
            padded[:, 1:-1] = rows[some] != 0
            flat = padded.ravel()
            row, x = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), size_x + 2)
            parts.append(np.stack([some[row[::2]], x[::2], x[1::2]]))
        row, start, stop = np.concatenate(parts, axis=1)
        return cls(mask.grid, row, start, stop)

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.row)

    def __getitem__(self, chosen: Ints | Bool | slice) -> Self:
        """Keep some runs."""
        return replace(self, row=self.row[chosen], start=self.start[chosen], stop=self.stop[chosen])

    @property
    def length(self) -> Ints:
        """Voxels of each run."""
        return self.stop - self.start

    @property
    def volume_ml(self) -> float:
        """Volume of all runs together."""
        return float(self.length.sum() * self.grid.voxel_ml)

    @property
    def box_xyz(self) -> tuple[Ints, Ints]:
        """The first voxel and one beyond the last along each array axis."""
        z, y = np.divmod(self.row, self.grid.size_xyz[1])
        low = np.array([self.start.min(), y.min(), z.min()])
        return low, np.array([self.stop.max(), y.max() + 1, z.max() + 1])

    @property
    def span_mm(self) -> tuple[float, float]:
        """The lowest and the highest voxel centre along LPS x."""
        ends = [self.position_mm(x)[:, 0] for x in (self.start, self.stop - 1)]
        return float(np.min(ends)), float(np.max(ends))

    def position_mm(self, x: Ints | Floats) -> Floats:
        """Return the positions [n, 3] of one place on each run, given as an index along x."""
        z, y = np.divmod(self.row, self.grid.size_xyz[1])
        return self.grid.position_mm(np.stack([x, y, z], axis=1))

    def voxels(self) -> tuple[Floats, Ints]:
        """Return every voxel's position [voxels, 3] (mm, LPS) and the number of its run."""
        run, x = _ranges(self.start, self.length)
        return self[run].position_mm(x), run

    def x_mm(self) -> Iterator[Floats]:
        """Yield the positions of all voxels along LPS x, a few million at a time."""
        first_mm, step_mm = self.position_mm(self.start)[:, 0], self.grid.steps_mm[0, 0]
        for some in self.chunks():
            run, step = _ranges(np.zeros_like(self.start[some]), self.length[some])
            yield first_mm[some][run] + step_mm * step

    def chunks(self) -> Iterator[slice]:
        """Yield parts that hold a few million voxels each."""
        number = np.cumsum(self.length) // CHUNK_VOXELS
        ends = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(self)]
        return (slice(*pair) for pair in pairwise(ends))

    def paint(self, values: NDArray[np.uint8], low_xyz: Ints, high_xyz: Ints) -> NDArray[np.uint8]:
        """Return a box of zeros (z, y, x) with each run's value in its voxels.

        The box may reach beyond the grid. Along z it may leave runs out, along x and y it must not.
        """
        size_y = self.grid.size_xyz[1]
        x, y, z = (high_xyz - low_xyz).tolist()
        box = np.zeros(z * y * x, np.uint8)
        here = slice(*np.searchsorted(self.row, [low_xyz[2] * size_y, high_xyz[2] * size_y]))
        runs, values = self[here], values[here]
        at_z, at_y = np.divmod(runs.row, size_y)
        first = ((at_z - low_xyz[2]) * y + at_y - low_xyz[1]) * x + runs.start - low_xyz[0]
        for some in runs.chunks():
            run, place = _ranges(first[some], runs.length[some])
            box[place] = values[some][run]
        return box.reshape(z, y, x)

    def components(self) -> NDArray[np.int32]:
        """Return the number [n] of the 26-connected component of each run, from 0."""
        size_x, size_y, _ = self.grid.size_xyz
        z, y = np.divmod(self.row, size_y)
        # the rows behind one another on one line, with gaps that nothing reaches across
        width = size_x + 2
        first = (z * (size_y + 2) + y) * width + self.start
        last = first + self.length
        pairs = []
        for dz, dy in NEIGHBOUR_ROWS:
            shift = (dz * (size_y + 2) + dy) * width
            low = np.searchsorted(last, first + shift)
            high = np.searchsorted(first, last + shift, side="right")
            pairs.append(np.stack(_ranges(low, high - low)))
        one, other = np.concatenate(pairs, axis=1)
        touch = coo_array((np.ones(len(one), np.bool_), (one, other)), (len(self), len(self)))
        return connected_components(touch, directed=False)[1]


def _ranges(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Return, for ranges of integers end to end, the number of the range and each integer."""
    number = np.repeat(np.arange(len(first)), count)
    before = np.cumsum(count) - count
    return number, np.arange(len(number)) + np.repeat(first - before, count)
