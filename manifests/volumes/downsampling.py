"""Downsampling: every n-th voxel of a volume, or the means of bins of voxels."""

import math
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

EXACT_BINS = 256  # whole numbers of 16 bits have sums below 2^24


def steps_within(step_mm: float, grid: Grid) -> tuple[int, int, int]:
    """Return how many voxels along each axis fit into a step in mm; at least one."""
    x, y, z = (
        min(max(1, int(step_mm / mm)), size)
        for mm, size in zip(grid.spacing_mm, grid.size_xyz, strict=True)
    )
    return x, y, z


def subsample(volume: Volume, step_mm: float) -> Volume:
    """Return the fewest voxels that show a volume in steps of at most `step_mm`; a view."""
    return every_nth(volume, steps_within(step_mm, volume.grid))


def every_nth(volume: Volume, steps_xyz: Sequence[int]) -> Volume:
    """Return the first of every `steps_xyz` voxels along each axis; a view."""
    x, y, z = steps_xyz
    return _downsampled(volume, volume.voxels[::z, ::y, ::x], steps_xyz, (0, 0, 0))


def bin_means(volume: Volume, factors_xyz: Sequence[int]) -> Volume:
    """Return the means of bins of voxels; those of integers are rounded, halves up.

    Voxels that fill no bin at the far end of an axis are left out.

    Source: ITK's `BinShrinkImageFilter`, whose results these are, in a third of its time and a
    fifth of that of scikit-image's `block_reduce`.
    """
    by_x, by_y, by_z = factors_xyz
    x, y, z = (n // f for n, f in zip(volume.grid.size_xyz, factors_xyz, strict=True))
    voxels, bins = volume.voxels, math.prod(factors_xyz)
    # a power of two divides sums without rounding
    share = np.float64(1 / bins) if bins & (bins - 1) else np.float32(1 / bins)
    means = np.empty((z, y, x), voxels.dtype)
    for mean, sums in zip(means, bin_sums(voxels, (by_z, by_y, by_x)), strict=True):
        shares = sums * share
        mean[...] = np.floor(shares + np.float32(0.5)) if voxels.dtype.kind != "f" else shares
    return _downsampled(volume, means, factors_xyz, (np.asarray(factors_xyz) - 1) / 2)


def middle_means(volume: Volume, factors_xyz: Sequence[int]) -> Volume:
    """Return the means of the middle of each bin of voxels (float32): two along each axis.

    It costs a fraction of `bin_means`, and is blurred less. Along an axis whose factor is 1 the
    middle is one voxel; any other has to be even.
    """
    by_x, by_y, by_z = factors_xyz
    z, y, x = (n // f for n, f in zip(volume.grid.size_xyz[::-1], (by_z, by_y, by_x), strict=True))
    means = np.empty((z, y, x), np.float32)
    share = np.float32(1 / math.prod(min(f, 2) for f in factors_xyz))
    narrow = volume.voxels.dtype.kind in "iu" and volume.voxels.itemsize <= 2
    add = partial(np.add, dtype=np.int32 if narrow else np.float32)
    for n, mean in enumerate(means):
        start = n * by_z + max(0, by_z // 2 - 1)
        layers = volume.voxels[start : start + min(by_z, 2)]
        rows = reduce(add, (layer[part] for layer in layers for part in _middle(by_y, y)))
        sums = reduce(add, (rows[:, part] for part in _middle(by_x, x)))
        np.multiply(sums.astype(np.float32), share, out=mean)
    return _downsampled(volume, means, factors_xyz, (np.asarray(factors_xyz) - 1) / 2)


def _middle(factor: int, count: int) -> list[slice]:
    """Return slices of the voxels in the middle of so many bins."""
    firsts = (0,) if factor == 1 else (factor // 2 - 1, factor // 2)
    return [slice(first, factor * count, factor) for first in firsts]


def bin_sums(voxels: NDArray[Any], factors_zyx: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield the sums of bins of voxels, a layer of bins at a time.

    Voxels that fill no bin at the far end of an axis are left out. Sums of integers are exact: they
    are floats whose precision is enough.
    """
    by_z, by_y, by_x = factors_zyx
    z, y, x = (n // f for n, f in zip(voxels.shape, factors_zyx, strict=True))
    narrow = voxels.dtype.kind in "iu" and voxels.itemsize <= 2
    exact = np.float32 if narrow and math.prod(factors_zyx) <= EXACT_BINS else np.float64
    for n in range(z):
        layers = voxels[n * by_z : (n + 1) * by_z, : y * by_y, : x * by_x]
        first = layers[0] if narrow and _fit(layers, by_z * by_y) else layers[0].astype(exact)
        rows = reduce(np.add, layers[1:], first)
        rows = reduce(np.add, (rows[k::by_y] for k in range(by_y))).astype(exact, copy=False)
        yield reduce(np.add, (rows[:, k::by_x] for k in range(by_x)))


def _fit(layers: NDArray[Any], count: int) -> bool:
    """Return whether sums of so many integers fit their own type, where they are made fastest."""
    limits = np.iinfo(layers.dtype)
    return int(layers.max()) <= limits.max // count and int(layers.min()) >= -(-limits.min // count)


def _downsampled(
    volume: Volume, voxels: NDArray[Any], steps_xyz: Sequence[int], first_xyz: ArrayLike
) -> Volume:
    grid = volume.grid
    a, b, c = (mm * step for mm, step in zip(grid.spacing_mm, steps_xyz, strict=True))
    i, j, k = grid.position_mm(first_xyz).tolist()
    z, y, x = voxels.shape
    return Volume(voxels, Grid((x, y, z), (a, b, c), (i, j, k), grid.direction_lps))
