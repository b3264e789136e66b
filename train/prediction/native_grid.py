"""Native grid: the most probable class of each of a scan's own voxels.

Probabilities, not decisions, are interpolated: a border between two classes runs where they are
equally probable, wherever that is between the network's voxels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from manifests.volumes.grid import Grid
from train.prediction.sliding_window import ClassProbabilities

NativeClasses = UInt8[np.ndarray, "native_z native_y native_x"]

SLAB_VALUES = 2**25  # voxels times classes that are interpolated at once
_ALIGNED = 1e-3  # voxels: grids whose axes stray less than this from each other are parallel
_ROUNDING = 0.99  # more than half precision rounds


def most_probable(
    probs: ClassProbabilities, grid: Grid, native: Grid, *, device: torch.device | str
) -> NativeClasses:
    """Interpolate the probabilities linearly, and take the greatest; of equal ones the first.

    The native grid is done in slabs of its slices, so that no class is ever held on all of it. A
    class of less than 1/N everywhere around a slab can be the greatest nowhere in it, since N
    probabilities sum to 1, and is passed over.

    Args:
        probs: Each class's probability [N, z, y, x], of any precision.
        grid: Where these lie; it covers the native grid from edge to edge.
        native: The grid to fill.
        device: Where to interpolate; it takes about 12 bytes for each of `SLAB_VALUES`.
    """
    classes = np.zeros(native.size_xyz[::-1], np.uint8)
    mapping = _Mapping.between(grid, native)
    least = _ROUNDING / len(probs)
    depth = max(1, SLAB_VALUES // (len(probs) * math.prod(classes.shape[1:])))
    for z in range(0, len(classes), depth):
        start, stop = (z, 0, 0), (min(z + depth, len(classes)), *classes.shape[1:])
        box = mapping.box(start, stop, probs.shape[1:])
        near = probs[:, *box]
        found = torch.nonzero(near.amax((1, 2, 3)) >= least).flatten()
        if len(found) > 1:
            values = near[found].to(device, torch.float32)
            corner = [s.start for s in box]
            best = mapping.sample(values, start, stop, corner).argmax(0).cpu()
            classes[z : stop[0]] = found[best].to(torch.uint8).numpy()
        else:
            classes[z : stop[0]] = int(found[0])
    return classes


@dataclass(frozen=True)
class _Mapping:
    """From native indices to the network's, both [z, y, x]: matrix @ index + offset."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def between(cls, grid: Grid, native: Grid) -> "_Mapping":
        matrix = np.linalg.inv(grid.steps_mm) @ native.steps_mm
        return cls(matrix[::-1, ::-1], grid.index_xyz(native.origin_mm)[::-1])

    def box(
        self, start: Sequence[int], stop: Sequence[int], shape: Sequence[int]
    ) -> tuple[slice, slice, slice]:
        """Return the network's voxels that a part of the native grid is interpolated from."""
        ends = np.stack([self.matrix * s for s in (start, np.subtract(stop, 1))])
        low, high = (f(ends, axis=0).sum(1) + self.offset for f in (np.min, np.max))
        first = np.clip(np.floor(low - _ALIGNED), 0, np.subtract(shape, 1)).astype(int)
        last = np.clip(np.ceil(high + _ALIGNED), first, np.subtract(shape, 1)).astype(int)
        z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return z, y, x

    def sample(
        self,
        values: ClassProbabilities,
        start: Sequence[int],
        stop: Sequence[int],
        corner: Sequence[int],
    ) -> Float[Tensor, "found native_z native_y native_x"]:
        """Interpolate on a part of the native grid; `corner` is where values[:, 0, 0, 0] lies.

        Beyond the outermost centres, which is by half a voxel at most, the outermost values go on.
        """
        axes = np.abs(self.matrix).argmax(0)
        offset = self.offset - corner
        stray = np.abs(self.matrix)
        stray[axes, range(3)] = 0
        aligned = len(set(axes.tolist())) == 3 and (stray @ stop).max() < _ALIGNED
        if not aligned:
            return self._oblique(values, start, stop, offset)
        values = values.permute(0, *(1 + axes).tolist())
        for axis in (2, 1, 0):  # the rows grow first, while there are few
            along = axes[axis]
            index = np.arange(start[axis], stop[axis])
            line = torch.from_numpy(self.matrix[along, axis] * index + offset[along])
            values = _interpolated(values, 1 + axis, line.to(values.device))
        return values

    def _oblique(
        self,
        values: ClassProbabilities,
        start: Sequence[int],
        stop: Sequence[int],
        offset: NDArray[np.float64],
    ) -> Float[Tensor, "found native_z native_y native_x"]:
        # grid_sample wants x, y, z, and -1 and 1 for the first and the last centre
        last = np.maximum(np.subtract(values.shape[1:], 1), 1)
        scale = 2 / last[::-1]
        lines = [
            torch.arange(a, b, device=values.device, dtype=torch.float32)
            for a, b in zip(start, stop, strict=True)
        ]
        places = torch.empty((*map(len, lines), 3), device=values.device)
        for n, (row, shift) in enumerate(zip(self.matrix[::-1], offset[::-1], strict=True)):
            z, y, x = (line * float(r) for line, r in zip(lines, row, strict=True))
            total = z[:, None, None] + y[:, None] + x + float(shift)
            places[..., n] = total * float(scale[n]) - 1
        how = {"mode": "bilinear", "padding_mode": "border", "align_corners": True}
        return grid_sample(values[None], places[None], **how)[0]


def _interpolated(values: Tensor, axis: int, line: Float[Tensor, "along"]) -> Tensor:
    """Interpolate linearly along one axis, at the indices of `line`."""
    line = line.clamp(0, values.shape[axis] - 1)
    low = line.floor().clamp(max=max(values.shape[axis] - 2, 0))
    share = (line - low).to(values.dtype)
    share = share.view(-1, *[1] * (values.ndim - 1 - axis))
    first = low.long()
    second = (first + 1).clamp(max=values.shape[axis] - 1)
    return torch.lerp(values.index_select(axis, first), values.index_select(axis, second), share)
