"""Local extrema of a volume: voxels that are brighter or darker than all their neighbours."""

from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]  # [n, 3], along the axes of the array
Values = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)

AXES = np.eye(3, dtype=np.int64)
DIRECTIONS = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)])


def binomial_sums(values: Values, *, times: int) -> Values:
    """Smooth binomially: add neighbours along each of three axes, so many times over.

    The edges fall away. Sums of whole numbers below 2^24 are exact, so they are the same in
    whichever order.
    """
    for axis in range(3):
        for _ in range(times):
            size = values.shape[axis]
            values = _cut(values, axis, 0, size - 1) + _cut(values, axis, 1, size)
    return values


def local_extrema(smooth: Values, reach: int, least: float) -> tuple[Positions, Values]:
    """Return the local maxima and minima, and their contrasts.

    Args:
        smooth: Three axes, and one more on which things lie side by side if there are several.
        reach: Extrema are so far from the edges, and compared with the mean of the six voxels at
            this distance.
        least: The least contrast.
    """
    place = _beyond_next_six(smooth, reach)
    around = values_at(smooth, place, np.concatenate([AXES, -AXES]) * reach)
    centre = values_at(smooth, place, AXES[:1] * 0)
    contrast = np.abs(centre[:, 0] - around.astype(np.float64).sum(axis=1) / 6)
    strong = contrast >= least
    place, centre, contrast = place[strong], centre[strong], contrast[strong]
    around = values_at(smooth, place, DIRECTIONS)
    extreme = (centre >= around).all(axis=1) | (centre <= around).all(axis=1)
    return place[extreme], contrast[extreme].astype(np.float32)


def values_at(smooth: Values, place: Positions, steps: Positions) -> Values:
    """Return the values [n, steps] at steps from positions."""
    strides = np.array(smooth.strides) // smooth.itemsize
    return smooth.reshape(-1)[(place @ strides)[:, None] + steps @ strides[:3]]


def _beyond_next_six(smooth: Values, border: int) -> Positions:
    """Return the positions, so far from the edges, that are extrema of the six next to them.

    What is as bright as all six is none.
    """
    inner = smooth
    for axis in range(3):
        inner = _cut(inner, axis, border - 1, inner.shape[axis] - border + 1)
    highest = np.ones((*(n - 2 for n in inner.shape[:3]), *inner.shape[3:]), bool)
    lowest = highest.copy()
    for axis in range(3):
        line, size = inner, inner.shape[axis]
        for other in {0, 1, 2} - {axis}:
            line = _cut(line, other, 1, inner.shape[other] - 1)
        before, after = _cut(line, axis, 0, size - 1), _cut(line, axis, 1, size)
        rises, falls = after >= before, after <= before
        highest &= _cut(rises, axis, 0, size - 2) & _cut(falls, axis, 1, size - 1)
        lowest &= _cut(falls, axis, 0, size - 2) & _cut(rises, axis, 1, size - 1)
    # both are true amidst what is flat, such as padding; ten times faster than to ask for places
    number = np.flatnonzero(highest ^ lowest)
    place = np.stack(np.unravel_index(number, highest.shape), axis=1)
    place[:, :3] += border
    return place


def _cut(array: NDArray[Number], axis: int, start: int, stop: int) -> NDArray[Number]:
    return array[(*[slice(None)] * axis, slice(start, stop))]
