"""Local extrema of a volume: voxels that are brighter or darker than all their neighbours.

Neighbours are compared by shifting whole layers as they lie in memory, so the rows of a volume run
into each other at their ends. What comes of that lies near the edges, and falls away in the end.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise, product, starmap

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]  # [n, 3], along the axes of the array
Values = NDArray[np.float32]
Numbers = NDArray[np.int64]  # of values, in the order of memory

DIRECTIONS = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)])
_EDGES = DIRECTIONS[np.abs(DIRECTIONS).sum(axis=1) == 2]
CHUNK_VALUES = 1 << 17  # as many as a processor keeps at hand


def binomial_sums(layers: Iterable[Values], size: Sequence[int], *, times: int) -> Values:
    """Smooth binomially: add neighbours along each of three axes, so many times over.

    The edges fall away. Sums of whole numbers below 2^24 are exact, so they are the same in
    whichever order.

    Args:
        layers: Of a volume, which need not be there at once.
        size: Of the volume.
        times: How often.
    """
    depth, height, width = (n - times for n in size)
    smooth = np.zeros((depth, *size[1:]), np.float32)
    rows: Iterable[Values] = (_sums_in(layer, times) for layer in layers)
    for _ in range(times):
        rows = starmap(np.add, pairwise(rows))
    for layer, sums in zip(smooth, rows, strict=True):
        layer.reshape(-1)[: len(sums)] = sums
    return smooth[:, :height, :width]


def _sums_in(layer: Values, times: int) -> Values:
    """Return the sums within a layer, as they lie in memory."""
    sums = layer.reshape(-1)
    for step in (1, layer.shape[1]):
        for _ in range(times):
            sums = sums[step:] + sums[:-step]
    return sums


def local_extrema(smooth: Values, reach: int, least: float) -> tuple[Positions, Values]:
    """Return the local maxima and minima, and their contrasts.

    Args:
        smooth: Three axes, and one more on which things lie side by side if there are several.
        reach: Extrema are so far from the edges, and compared with the mean of the six voxels at
            this distance.
        least: The least contrast.
    """
    flat, strides = _in_memory(smooth)
    number = _inside(_beyond_next_six(flat, strides), strides, smooth.shape, reach)
    around = np.zeros(len(number), np.float64)
    for axis in range(3):
        step = reach * int(strides[axis])
        np.add(around, flat.take(number - step), out=around)
        np.add(around, flat.take(number + step), out=around)
    contrast = np.abs(flat.take(number) - around / 6)
    strong = contrast >= least
    number, contrast = number[strong], contrast[strong]
    for steps in (_EDGES, DIRECTIONS):  # most are out after the first
        centre, beside = flat.take(number), _values_at(flat, number, strides, steps)
        kept = (centre >= beside.max(axis=0)) | (centre <= beside.min(axis=0))
        number, contrast = number[kept], contrast[kept]
    return _places(number, strides), contrast.astype(np.float32)


def values_at(smooth: Values, place: Positions, steps: Positions) -> Values:
    """Return the values [n, steps] at steps from positions."""
    flat, strides = _in_memory(smooth)
    return _values_at(flat, place @ strides, strides, steps).T


def _values_at(flat: Values, number: Numbers, strides: Numbers, steps: Positions) -> Values:
    """Return the values [steps, n] at steps from those of some numbers."""
    return flat.take(number + (steps @ strides[:3])[:, None])


def _in_memory(values: Values) -> tuple[Values, Numbers]:
    """Return values as they lie in memory, with what lies between them, and their strides."""
    strides = np.array(values.strides) // values.itemsize
    count = int(strides @ (np.array(values.shape) - 1)) + 1
    return np.lib.stride_tricks.as_strided(values, (count,), (values.itemsize,)), strides


def _places(number: Numbers, strides: Numbers) -> Positions:
    """Return the positions [n, axes] of values."""
    place = np.empty((len(number), len(strides)), np.int64)
    for axis, stride in enumerate(strides.tolist()):
        place[:, axis], number = np.divmod(number, stride)
    return place


def _inside(number: Numbers, strides: Numbers, size: tuple[int, ...], border: int) -> Numbers:
    """Return those of some numbers whose positions are so far from the edges."""
    inside, rest = np.ones(len(number), bool), number
    for stride, length in zip(strides[:3].tolist(), size, strict=False):
        at = rest // stride
        rest = rest - at * stride
        inside &= (at >= border) & (at < length - border)
    return number[inside]


def _beyond_next_six(flat: Values, strides: Numbers) -> Numbers:
    """Return the numbers of values that are extrema of the six next to them.

    What is as bright as all six is none.
    """
    found, margin = [np.zeros(0, np.int64)], int(strides[0])
    for start in range(margin, len(flat) - margin, CHUNK_VALUES):
        stop = min(start + CHUNK_VALUES, len(flat) - margin)
        highest = np.ones(stop - start, bool)
        lowest = highest.copy()
        for step in strides[:3].tolist():
            before, after = flat[start - step : stop], flat[start : stop + step]
            rises, falls = after >= before, after <= before
            highest &= rises[:-step]
            highest &= falls[step:]
            lowest &= falls[:-step]
            lowest &= rises[step:]
        # both are true amidst what is flat, such as padding
        found.append(np.flatnonzero(highest != lowest) + start)
    return np.concatenate(found)
