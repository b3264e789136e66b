"""Blobs: local extrema of a CT at half its resolution, a quick first look for its keypoints."""

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.extrema import Positions, Values, binomial_sums, local_extrema

CELLS = 4000  # of the image; the strongest of each counts
LEAST_CONTRAST_HU = 15.0
REACH = 2  # halved voxels from a blob to what it is held against
SMOOTHED = 1  # halved voxels at each edge that smoothing takes away
WEIGHT = 8 * 4.0**3  # of halving and smoothing, whose sums stay whole numbers
CHUNK_VOXELS = 1 << 20  # as much as a processor keeps at hand


def find_blobs(hu: NDArray[np.generic]) -> tuple[Positions, Values]:
    """Return the first voxels [n, 3] of cubes of two voxels a side that are local extrema.

    They are not nearer to an edge than two cubes, and come with their contrasts.

    Args:
        hu: Hounsfield units, up to a constant, in an array of three axes.
    """
    half = _halved(hu)
    depth = max(1, CHUNK_VOXELS // half[0].size)
    parts = [(np.zeros((0, 3), np.int64), np.zeros(0, np.float32))]
    starts = range(0, len(half) - 2 * (REACH + SMOOTHED), depth)
    parts += [_blobs_in(half, start, start + depth) for start in starts]
    position, contrast = (np.concatenate(column) for column in zip(*parts, strict=True))
    return position, contrast


def _halved(hu: NDArray[np.generic]) -> Values:
    """Return sums of two by two by two voxels, with those at the edges repeated around them.

    An odd last voxel along an axis falls away.
    """
    z, y, x = (n // 2 for n in hu.shape)
    half = np.empty((z + 2, y + 2, x + 2), np.float32)
    for n in range(z):
        layer = hu[2 * n, : 2 * y, : 2 * x].astype(np.float32)
        np.add(layer, hu[2 * n + 1, : 2 * y, : 2 * x], out=layer)
        rows = layer[::2] + layer[1::2]
        np.add(rows[:, ::2], rows[:, 1::2], out=half[n + 1, 1:-1, 1:-1])
    for axis in range(3):
        line = np.moveaxis(half, axis, 0)
        line[0], line[-1] = line[1], line[-2]
    return half


def _blobs_in(half: Values, start: int, stop: int) -> tuple[Positions, Values]:
    """Return the blobs in some layers of the halved array, and their contrasts."""
    smooth = binomial_sums(half[start : stop + 2 * (REACH + SMOOTHED)], times=2 * SMOOTHED)
    place, contrast = local_extrema(smooth, REACH, LEAST_CONTRAST_HU * WEIGHT)
    return 2 * (place + np.array([start, 0, 0])), contrast


def cells_of(position: Positions, size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the numbers of the cells that positions lie in."""
    side = max(4, int((np.prod(size, dtype=float) / CELLS) ** (1 / 3)))
    return np.asarray(
        np.ravel_multi_index(tuple(position.T // side), [n // side + 1 for n in size])
    )
