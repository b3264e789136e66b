"""Keypoints of a CT: places that every copy of it shows again, whichever way its axes run.

A keypoint is a voxel that is brighter, or darker, than all its neighbours. What surrounds it gives
it a frame, one of the 48 turns and flips that send the axes of an array to each other, and, seen in
that frame, a code of 64 bits. Both look at few voxels: no part of the image beyond them matters.

Source: the frame is that of ORB (Rublee et al. 2011, section 3.2) taken to three dimensions and
to whole turns; the bits are those of Charikar 2002; keypoints are spread as by Brown et al. 2005.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]  # [n, 3], along the axes of the array
Samples = NDArray[np.float32]  # [n, 52]

SMOOTHED = 2  # voxels at each edge that smoothing takes away
REACH = 3  # voxels from a keypoint to the farthest that is looked at
BORDER = SMOOTHED + REACH
BITS = 64
LEAST_CONTRAST_HU = 30.0
# A frame is sure if the asymmetries that order its axes are so far apart, and from none:
LEAST_MARGIN = 0.1  # of the greatest of them
LEAST_MARGIN_TO_CONTRAST = 0.2
CLEARLY = 0.9  # a neighbour is stronger if even so much of its contrast is
CELLS = 4000  # of the image; the strongest keypoint of each stands for election
CHUNK_VOXELS = 1 << 23
WEIGHT = 16.0**3  # of the smoothing, whose sums stay whole numbers

DIRECTIONS = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)])
_UNIT = DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
OFFSETS = np.concatenate([np.rint(_UNIT * radius).astype(int) for radius in (2, REACH)])
FRAMES = np.array(
    [
        np.eye(3, dtype=int)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
)  # [48, 3, 3]: row j is the array's direction that is axis j of the frame


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one array of voxels.

    Attributes:
        size: Of the array.
        position: Where they are.
        frame: Their places in `FRAMES` [n].
        code: What surrounds them [n], uint64.
    """

    size: tuple[int, ...]
    position: Positions
    frame: NDArray[np.uint8]
    code: NDArray[np.uint64]


@dataclass(frozen=True)
class _Found:
    position: Positions
    contrast: NDArray[np.float32]
    samples: Samples


def find_keypoints(hu: NDArray[np.generic], *, most: int) -> Keypoints:
    """The keypoints of a CT that are spread most evenly over it.

    Turning, flipping and cropping the array changes which are found only near the cut; adding a
    constant changes nothing, and so does what is less than half a Hounsfield unit.

    Args:
        hu: Hounsfield units, up to a constant, in an array of three axes.
        most: Return no more than so many.
    """
    parts = [_in_chunk(hu, start, stop) for start, stop in _chunks(hu.shape)]
    found = _Found(
        np.concatenate([np.zeros((0, 3), np.int64), *(p.position for p in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(p.contrast for p in parts)]),
        np.concatenate([np.zeros((0, len(OFFSETS)), np.float32), *(p.samples for p in parts)]),
    )
    frame, margin, greatest = _frames(found.samples)
    limit = np.maximum(LEAST_MARGIN * greatest, LEAST_MARGIN_TO_CONTRAST * found.contrast)
    chosen = np.flatnonzero(margin >= limit)
    spread = _spread(found.position[chosen], found.contrast[chosen], hu.shape)
    chosen = chosen[spread[:most]]
    return Keypoints(
        hu.shape,
        found.position[chosen],
        frame[chosen],
        _codes(found.samples[chosen], frame[chosen]),
    )


def _chunks(size: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    if min(size) <= 2 * BORDER:
        return
    depth = max(1, CHUNK_VOXELS // (size[1] * size[2]))
    for start in range(BORDER, size[0] - BORDER, depth):
        yield start, min(start + depth, size[0] - BORDER)


def _in_chunk(hu: NDArray[np.generic], start: int, stop: int) -> _Found:
    """The candidates at `start` up to and without `stop` on the first axis."""
    part = hu[start - BORDER : stop + BORDER]
    smooth = _smoothed(np.rint(part).astype(np.float32))
    position = _extrema(smooth)
    around = [s * REACH for s in np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])]
    ring = sum(smooth[tuple((position + step).T)].astype(np.float64) for step in around) / 6
    contrast = np.abs(smooth[tuple(position.T)] - ring) / WEIGHT
    strong = contrast >= LEAST_CONTRAST_HU
    position = position[strong]
    samples = smooth[tuple(np.moveaxis(position[:, None] + OFFSETS, -1, 0))]
    position += np.array((start - BORDER + SMOOTHED, SMOOTHED, SMOOTHED))
    return _Found(position, contrast[strong].astype(np.float32), samples)


def _smoothed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh voxels by 1, 4, 6, 4, 1 along each axis; the edges fall away.

    Sums of whole numbers below 2^24 are exact, so they are the same in whichever order.
    """
    for axis in range(3):
        a, b, c, d, e = (_cut(hu, axis, k, hu.shape[axis] - 4 + k) for k in range(5))
        hu = a + e
        hu += 4 * (b + d)
        hu += 6 * c
    return hu


def _extrema(smooth: NDArray[np.float32]) -> Positions:
    """Positions, as far from the edges as is looked at, that no neighbour exceeds or undercuts."""
    inner = smooth
    for axis in range(3):
        inner = _cut(inner, axis, REACH - 1, inner.shape[axis] - REACH + 1)
    centre = inner[1:-1, 1:-1, 1:-1]
    extreme = np.zeros(centre.shape, bool)
    for pick in (np.maximum, np.minimum):
        best = inner
        for axis in range(3):
            a, b, c = (_cut(best, axis, k, best.shape[axis] - 2 + k) for k in range(3))
            best = pick(pick(a, b), c)
        extreme |= centre == best
    return np.argwhere(extreme) + REACH


def _cut(array: NDArray[np.float32], axis: int, start: int, stop: int) -> NDArray[np.float32]:
    return array[(*[slice(None)] * axis, slice(start, stop))]


def _frames(
    samples: Samples,
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Frames, how far each is from a tie, and its greatest asymmetry.

    The axes of a frame follow the asymmetry of the surroundings: each points to where it is
    brighter, the most asymmetric first. So a thing that runs along an axis unchanged, such as the
    table or the edge of the field of view, has no sure frame.
    """
    tilt = samples.astype(np.float64) @ np.tile(_UNIT, (2, 1)) / WEIGHT
    order = np.argsort(-np.abs(tilt), axis=1, kind="stable")
    size = np.take_along_axis(np.abs(tilt), order, axis=1)
    margin = np.minimum(size[:, :2] - size[:, 1:], size[:, 2:]).min(axis=1)
    down = np.take_along_axis(tilt, order, axis=1) < 0
    places = np.array(list(permutations(range(3))))
    number = (order[:, None] == places).all(axis=2).argmax(axis=1)
    return (number * 8 + down @ (4, 2, 1)).astype(np.uint8), margin, size[:, 0]


def _codes(samples: Samples, frame: NDArray[np.uint8]) -> NDArray[np.uint64]:
    seen = np.take_along_axis(samples, _sample_orders()[frame], axis=1)
    bits = seen.astype(np.float64) @ _projections() > 0
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


@cache
def _sample_orders() -> NDArray[np.int64]:
    """For each frame, which sample stands where the frame has its own [48, 52]."""
    turned = OFFSETS @ FRAMES  # [48, 52, 3]
    return (turned[:, :, None] == OFFSETS).all(axis=3).argmax(axis=2)


@cache
def _projections() -> NDArray[np.float64]:
    """Random sums of the samples [52, 64], blind to what depends on the distance alone.

    The signs come from a hash: they must never change, since codes are kept.
    """
    count = len(OFFSETS) * BITS
    noise = b"".join(sha256(b"%d" % n).digest() for n in range(-(-count // 256)))
    signs = np.unpackbits(np.frombuffer(noise, np.uint8))[:count].astype(np.float64) * 2 - 1
    sums = signs.reshape(len(OFFSETS), BITS)
    distance = (OFFSETS**2).sum(axis=1)
    for alike in (distance == d for d in np.unique(distance)):
        sums[alike] -= sums[alike].mean(axis=0)
    return sums


def _spread(
    position: Positions, contrast: NDArray[np.float32], size: tuple[int, ...]
) -> NDArray[np.int64]:
    """Order keypoints by how far the nearest one of clearly greater contrast is, farthest first.

    Only the strongest of each cell is looked at.
    """
    order = np.argsort(-contrast, kind="stable")
    side = max(4, int((np.prod(size, dtype=float) / CELLS) ** (1 / 3)))
    cells = np.ravel_multi_index(tuple(position[order].T // side), [n // side + 1 for n in size])
    order = order[np.sort(np.unique(cells, return_index=True)[1])]
    place = position[order].astype(np.float32)
    stronger = np.searchsorted(-contrast[order], -contrast[order] / CLEARLY)
    radius = np.full(len(order), np.inf, np.float32)
    for i, n in enumerate(stronger):
        if n:
            radius[i] = ((place[:n] - place[i]) ** 2).sum(axis=1).min()
    return order[np.argsort(-radius, kind="stable")]
