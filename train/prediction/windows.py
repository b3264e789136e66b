"""Windows: where a volume is looked at, which is where a body may be."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int16
from numpy.typing import NDArray

from manifests.volumes.grid import AIR_HU

HuVolume = Int16[np.ndarray, "z y x"] | Float[np.ndarray, "z y x"]
PaddedVolume = Int16[np.ndarray, "pad_z pad_y pad_x"] | Float[np.ndarray, "pad_z pad_y pad_x"]
Window = tuple[slice, slice, slice]

BLOCK = 8  # voxels along y and x
# A block that is neither is air and its noise. What emphysema leaves of a lung is below -950 HU in
# parts, but it has vessels.
DENSE_HU = -500.0  # of any voxel
MEAN_HU = -960.0  # of all voxels


def padded(hu: HuVolume, window: Sequence[int]) -> tuple[PaddedVolume, Window]:
    """Put air around a volume smaller than a window, and return where the volume lies in it."""
    missing = [max(w - n, 0) for n, w in zip(hu.shape, window, strict=True)]
    z, y, x = (slice(m // 2, m // 2 + n) for m, n in zip(missing, hu.shape, strict=True))
    if any(missing):
        hu = np.pad(hu, [(m // 2, m - m // 2) for m in missing], constant_values=int(AIR_HU))
    return hu, (z, y, x)


def layers(
    hu: PaddedVolume, window: Sequence[int], overlap: float
) -> Iterator[tuple[int, list[Window]]]:
    """Yield where each layer of windows starts along z, and its windows that may hold a body.

    Along y and x, they cover the whole volume, or the box around the layer's body if that takes
    fewer of them.
    """
    blocks = body_blocks(hu)
    for z in _starts(0, len(hu), window[0], overlap):
        flat = np.logical_or.reduce(blocks[z : z + window[0]])
        lines = []
        for axis, along in enumerate((flat.T, flat), start=1):
            size, length = hu.shape[axis], window[axis]
            parts = (0, size), _part(np.flatnonzero(along.any(axis=0)), size, length)
            lines.append(min((_starts(*part, length, overlap) for part in parts), key=len))
        places = [_place((z, y, x), window) for y, x in product(*lines)]
        yield z, [place for place in places if _of_blocks(flat, place).any()]


def body_blocks(hu: PaddedVolume) -> Bool[np.ndarray, "pad_z rows columns"]:
    """Return which blocks of `BLOCK` x `BLOCK` voxels of a slice hold more than air."""
    rest = [(0, -n % BLOCK) for n in hu.shape[1:]]
    found = np.empty([len(hu), *(-(-n // BLOCK) for n in hu.shape[1:])], np.bool_)
    for plane, blocks in zip(hu, found, strict=True):
        whole = np.pad(plane, rest, mode="edge")
        rows = [whole[k::BLOCK] for k in range(BLOCK)]
        greatest = _by_columns(np.maximum, reduce(np.maximum, rows))
        total = _by_columns(np.add, reduce(np.add, rows[1:], rows[0].astype(np.float32)))
        blocks[...] = (greatest > DENSE_HU) | (total > MEAN_HU * BLOCK**2)
    return found


def _by_columns(function: np.ufunc, rows: np.ndarray) -> np.ndarray:
    return reduce(function, [rows[:, k::BLOCK] for k in range(BLOCK)])


def _of_blocks(flat: Bool[np.ndarray, "rows columns"], place: Window) -> np.ndarray:
    y, x = (slice(s.start // BLOCK, -(-s.stop // BLOCK)) for s in place[1:])
    return flat[y, x]


def _part(blocks: NDArray[np.int64], size: int, window: int) -> tuple[int, int]:
    """Return the part of an axis from the first block to the last, or a window around them."""
    if not blocks.size:
        return 0, window
    first, last = int(blocks[0]) * BLOCK, min((int(blocks[-1]) + 1) * BLOCK, size)
    if last - first < window:
        first = max(0, min((first + last - window) // 2, size - window))
        last = first + window
    return first, last


def _starts(first: int, last: int, window: int, overlap: float) -> tuple[int, ...]:
    """Return where windows start along an axis: evenly, but the last ends with the part."""
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((last - first - window) / step) + 1
    return tuple(min(first + n * step, last - window) for n in range(count))


def _place(start: Sequence[int], window: Sequence[int]) -> Window:
    z, y, x = (slice(s, s + w) for s, w in zip(start, window, strict=True))
    return z, y, x
