"""Native grid: the most probable class of each of a scan's own voxels.

Probabilities, not decisions, are interpolated: a border between two classes runs where they are
equally probable, wherever that is between the network's voxels. Where the network's voxels around
agree, there is nothing to interpolate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

from manifests.volumes.grid import Grid
from train.prediction.class_field import MIXED, Box, ClassField, Contest

NativeClasses = UInt8[np.ndarray, "native_z native_y native_x"]

SLAB_VOXELS = 2**22  # of the native grid that are filled at once
_POINTS_AT_ONCE = 2**16  # of those that lie between classes
_ALIGNED = 1e-3  # voxels: grids whose axes stray less than this from each other are parallel


def most_probable(field: ClassField, grid: Grid, native: Grid) -> NativeClasses:
    """Interpolate the probabilities linearly, and take the greatest; of equal ones the first.

    Beyond the outermost centres, which is by half a voxel at most, the outermost values go on.

    Args:
        field: The classes on the network's grid.
        grid: Where these lie; it covers the native grid from edge to edge.
        native: The grid to fill, some of its slices at a time.
    """
    classes = np.empty(native.size_xyz[::-1], np.uint8)
    mapping = _Mapping.between(grid, native)
    depth = max(1, SLAB_VOXELS // math.prod(classes.shape[1:]))
    for z in range(0, len(classes), depth):
        slab, start = classes[z : z + depth], (z, 0, 0)
        _copy_cells(field, slab, mapping, z)
        flat, between = slab.reshape(-1), np.flatnonzero(slab == MIXED)
        if not between.size:
            continue
        contest = field.contest(mapping.box(start, (z + len(slab), *slab.shape[1:])))
        for n in range(0, between.size, _POINTS_AT_ONCE):
            points = between[n : n + _POINTS_AT_ONCE]
            k, y, x = np.unravel_index(points, slab.shape)
            flat[points] = _winners(contest, mapping, (k + z, y, x))
    return classes


@dataclass(frozen=True)
class _Mapping:
    """From native indices to the network's, both [z, y, x]: matrix @ index + offset.

    Attributes:
        shape: Of the network's grid.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape: tuple[int, ...]

    @classmethod
    def between(cls, grid: Grid, native: Grid) -> "_Mapping":
        matrix = (np.linalg.inv(grid.steps_mm) @ native.steps_mm)[::-1, ::-1]
        stray = np.abs(matrix) * native.size_xyz[::-1] < _ALIGNED
        offset = grid.index_xyz(native.origin_mm)[::-1]
        return cls(np.where(stray, 0.0, matrix), offset, grid.size_xyz[::-1])

    def box(self, start: Sequence[int], stop: Sequence[int]) -> Box:
        """Return the network's voxels that a part of the native grid is interpolated from."""
        ends = np.stack([self.matrix * s for s in (start, np.subtract(stop, 1))])
        low, high = (f(ends, axis=0).sum(1) + self.offset for f in (np.min, np.max))
        first = np.clip(np.floor(low - _ALIGNED), 0, np.subtract(self.shape, 1)).astype(int)
        last = np.clip(np.ceil(high + _ALIGNED), first, np.subtract(self.shape, 1)).astype(int)
        z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return z, y, x

    def places(self, native_zyx: Sequence[NDArray[np.integer]]) -> list[NDArray[np.float64]]:
        """Return where native voxels lie along the network's z, y, x.

        Each is an array as large as the indices along those native axes that it depends on.
        """
        return [
            np.clip(
                sum((m * i for m, i in zip(row, native_zyx, strict=True) if m), start=shift),
                0,
                size - 1,
            )
            for row, shift, size in zip(self.matrix, self.offset, self.shape, strict=True)
        ]


def _copy_cells(field: ClassField, slab: NativeClasses, mapping: _Mapping, first: int) -> None:
    """Fill some slices, the first of which has that number, with the cells that they lie in."""
    lines = np.ix_(*map(np.arange, slab.shape))
    before: list[NDArray[np.int64]] = []
    for k, plane in enumerate(slab):
        places = mapping.places((lines[0][:1] + first + k, *lines[1:]))
        cells = [place.astype(np.int64) for place in places]
        # often a neighbouring slice lies in the same cells
        same = all(map(np.array_equal, before, cells)) if before else False
        plane[...] = slab[k - 1] if same else field.cells[tuple(cells)]
        before = cells


def _winners(
    contest: Contest, mapping: _Mapping, native_zyx: Sequence[NDArray[np.integer]]
) -> UInt8[np.ndarray, "points"]:
    """Return the most probable classes of voxels that lie between classes."""
    near: list[tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]] = []
    for place, part in zip(mapping.places(native_zyx), contest.box, strict=True):
        below = place.astype(np.int64)
        share, above = place - below, np.minimum(below + 1, part.stop - 1)
        near.append(((below - part.start, 1 - share), (above - part.start, share)))
    corners = list(product(*near))
    rows = np.stack([contest.row_of[tuple(i for i, _ in corner)] for corner in corners], 1)
    weights = np.stack([math.prod(w for _, w in corner) for corner in corners], 1)
    probs = embedding_bag(
        torch.from_numpy(rows),
        contest.probs,
        per_sample_weights=torch.from_numpy(weights.astype(np.float32)),
        mode="sum",
    )
    return contest.classes[probs.numpy().argmax(1)]
