"""Blobs: local extrema of a CT at half its resolution, a quick first look for its keypoints."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.extrema import Positions, Values, binomial_sums, local_extrema
from manifests.volumes.downsampling import bin_sums

CELLS = 4000  # of the image; the strongest of each counts
LEAST_CONTRAST_HU = 15.0
REACH = 2  # halved voxels from a blob to what it is held against
SMOOTHED = 1  # halved voxels at each edge that smoothing takes away
WEIGHT = 8 * 4.0**3  # of halving and smoothing, whose sums stay whole numbers


def find_blobs(hu: NDArray[np.generic]) -> tuple[Positions, Values]:
    """Return the first voxels [n, 3] of cubes of two voxels a side that are local extrema.

    They are not nearer to an edge than two cubes, and come with their contrasts.

    Args:
        hu: Hounsfield units, up to a constant, in an array of three axes.
    """
    size = [n // 2 + 2 * SMOOTHED for n in hu.shape]
    smooth = binomial_sums(_halved(hu), size, times=2 * SMOOTHED)
    if min(smooth.shape) <= 2 * REACH:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.float32)
    place, contrast = local_extrema(smooth, REACH, LEAST_CONTRAST_HU * WEIGHT)
    return 2 * place, contrast


def _halved(hu: NDArray[np.generic]) -> Iterator[Values]:
    """Yield layers of sums of two by two by two voxels, with those at the edges repeated around.

    An odd last voxel along an axis falls away.
    """
    padded = None
    for sums in bin_sums(hu, (2, 2, 2)):
        repeated = padded is None
        padded = np.pad(sums.astype(np.float32, copy=False), SMOOTHED, mode="edge")
        yield padded
        if repeated:
            yield padded
    if padded is not None:
        yield padded


def cells_of(position: Positions, size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the numbers of the cells that positions lie in."""
    side = max(4, int((np.prod(size, dtype=float) / CELLS) ** (1 / 3)))
    return np.asarray(
        np.ravel_multi_index(tuple(position.T // side), [n // side + 1 for n in size])
    )
