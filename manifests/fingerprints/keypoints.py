"""Keypoints of a CT: places that every copy of it shows again, whichever way its axes run.

A keypoint is a voxel that is brighter, or darker, than all its neighbours. What surrounds it gives
it a frame, one of the 48 turns and flips that send the axes of an array to each other, and, seen in
that frame, a code of 64 bits. Both look at few voxels: no part of the image beyond them matters.

Source: the frame is that of ORB (Rublee et al. 2011, section 3.2) taken to three dimensions and
to whole turns; the bits are those of Charikar 2002; keypoints are spread as by Brown et al. 2005.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.blobs import cells_of, find_blobs
from manifests.fingerprints.extrema import (
    DIRECTIONS,
    Positions,
    binomial_sums,
    local_extrema,
    values_at,
)

Samples = NDArray[np.float32]  # [n, 52]

BINOMIAL = (1, 4, 6, 4, 1)  # weights of the smoothing along each axis
SMOOTHED = 2  # voxels at each edge that it takes away
REACH = 3  # voxels from a keypoint to the farthest that is looked at
BORDER = SMOOTHED + REACH
BITS = 64
LEAST_CONTRAST_HU = 30.0
# A frame is sure if the asymmetries that order its axes are so far apart, and from none:
LEAST_MARGIN = 0.1  # of the greatest of them
LEAST_MARGIN_TO_CONTRAST = 0.2
CLEARLY = 0.9  # a neighbour is stronger if even so much of its contrast is
SMALL_VOXELS = 1 << 22  # of an array that is searched whole
MOST_BLOBS = 1024  # of a large array; around some there is no keypoint with a sure frame
PATCH = 4 + 2 * BORDER  # voxels along each axis around a blob; a keypoint may be in its middle four
BEFORE_BLOB = 6  # of these
PATCHES_AT_A_TIME = 64  # as much as a processor keeps at hand
AT_A_TIME = 128  # keypoints
WEIGHT = 16.0**3  # of the smoothing, whose sums stay whole numbers

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
        position: [n, 3], along the axes of the array.
        frame: Their places in `FRAMES` [n].
        code: What surrounds them [n].
    """

    size: tuple[int, ...]
    position: Positions
    frame: NDArray[np.uint8]
    code: NDArray[np.uint64]


class _Found(NamedTuple):
    position: Positions
    contrast: NDArray[np.float32]
    samples: Samples


def find_keypoints(hu: NDArray[np.generic], *, most: int) -> Keypoints:
    """Find the keypoints of a CT that are spread most evenly over it.

    In a large array they are looked for around blobs only. Turning, flipping and cropping the array
    changes few of those that are found; adding a constant changes nothing, and so does what is less
    than half a Hounsfield unit.

    Args:
        hu: Hounsfield units, up to a constant, in an array of three axes.
        most: Return no more than so many.
    """
    small = hu.size <= SMALL_VOXELS or min(hu.shape) <= 2 * BORDER
    found = _found_on_all(hu) if small else _found_around_blobs(hu)
    return _best(found, hu.shape, most)


def find_smooth_keypoints(smooth: Samples, *, most: int) -> Keypoints:
    """Find the keypoints of an array that was smoothed as `find_keypoints` does it.

    Args:
        smooth: Of `binomial_sums`, four times over; the array was larger by as many voxels.
        most: Return no more than so many.
    """
    size = tuple(n + 2 * SMOOTHED for n in smooth.shape)
    return _best(_concatenate([_found_in(smooth)] if min(size) > 2 * BORDER else ()), size, most)


def _best(found: _Found, size: tuple[int, ...], most: int) -> Keypoints:
    """Return those keypoints with a sure frame that are spread most evenly."""
    frame, margin, greatest = _frames(found.samples)
    limit = np.maximum(LEAST_MARGIN * greatest, LEAST_MARGIN_TO_CONTRAST * found.contrast)
    chosen = np.flatnonzero(margin >= limit)
    spread = _spread(found.position[chosen], found.contrast[chosen], size)
    chosen = chosen[spread[:most]]
    return Keypoints(
        size,
        found.position[chosen],
        frame[chosen],
        _codes(found.samples[chosen], frame[chosen]),
    )


def _found_on_all(hu: NDArray[np.generic]) -> _Found:
    """Find all keypoints of a small array."""
    if min(hu.shape) <= 2 * BORDER:
        return _concatenate(())
    layers = (np.rint(layer.astype(np.float32)) for layer in hu)
    return _found_in(binomial_sums(layers, hu.shape, times=2 * SMOOTHED))


def _found_around_blobs(hu: NDArray[np.generic]) -> _Found:
    """Find all keypoints around those blobs of a large array that are spread most evenly."""
    blobs, contrast = find_blobs(hu)
    blobs = blobs[_spread(blobs, contrast, hu.shape)[:MOST_BLOBS]]
    size = np.minimum(PATCH, hu.shape)
    corner = np.clip(blobs - BEFORE_BLOB, 0, np.array(hu.shape) - size)
    patches = np.lib.stride_tricks.sliding_window_view(hu, tuple(size))
    found = _concatenate(
        _found_in_patches(patches[tuple(some.T)], some)
        for some in np.array_split(corner, len(corner) // PATCHES_AT_A_TIME + 1)
        if len(some)
    )
    once = np.unique(found.position, axis=0, return_index=True)[1]
    return _Found(found.position[once], found.contrast[once], found.samples[once])


def _concatenate(parts: Iterable[_Found]) -> _Found:
    none = _Found(
        np.zeros((0, 3), np.int64),
        np.zeros(0, np.float32),
        np.zeros((0, len(OFFSETS)), np.float32),
    )
    return _Found(*map(np.concatenate, zip(none, *parts, strict=True)))


def _found_in_patches(patches: NDArray[np.generic], corner: Positions) -> _Found:
    """Find all keypoints in patches [n, z, y, x] of an array whose corners are given."""
    # the patches side by side on the last axis, where products of long rows are fast
    part = np.ascontiguousarray(np.moveaxis(patches, 0, -1), np.float32)
    found = _found_in(_smoothed(np.rint(part, out=part)))
    place = found.position
    return found._replace(position=corner[place[:, 3]] + place[:, :3])


def _found_in(smooth: Samples) -> _Found:
    """Find all keypoints in a smooth array, whose own edges fell away."""
    place, contrast = local_extrema(smooth, REACH, LEAST_CONTRAST_HU * WEIGHT)
    samples = values_at(smooth, place, OFFSETS)
    place[:, :3] += SMOOTHED
    return _Found(place, contrast / WEIGHT, samples)


def _smoothed(patches: Samples) -> Samples:
    """Smooth patches [z, y, x, n] binomially: as `binomial_sums` does, to the last bit."""
    for axis in range(3):
        *before, size = patches.shape[: axis + 1]
        sums = smoothing(size) @ patches.reshape(*before, size, -1)
        patches = sums.reshape(*before, size - 2 * SMOOTHED, *patches.shape[axis + 1 :])
    return patches


@cache
def smoothing(size: int) -> NDArray[np.float32]:
    """Return the matrix that smooths so many values, of which some at both ends fall away."""
    kept = size - 2 * SMOOTHED
    matrix = np.zeros((kept, size), np.float32)
    for step, weight in enumerate(BINOMIAL):
        matrix[np.arange(kept), np.arange(kept) + step] = weight
    return matrix


def _frames(
    samples: Samples,
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return the frames, how far each is from a tie, and its greatest asymmetry.

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
    """Return [48, 52], for each frame, which sample stands where the frame has its own."""
    turned = OFFSETS @ FRAMES  # [48, 52, 3]
    return (turned[:, :, None] == OFFSETS).all(axis=3).argmax(axis=2)


@cache
def _projections() -> NDArray[np.float64]:
    """Return weights [52, 64] of random sums, blind to what depends on the distance alone.

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
    order = order[np.sort(np.unique(cells_of(position[order], size), return_index=True)[1])]
    place = position[order].astype(np.float32)
    length = (place**2).sum(axis=1)
    stronger = np.searchsorted(-contrast[order], -contrast[order] / CLEARLY)
    radius = np.full(len(order), np.inf, np.float32)
    for start in range(0, len(order), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        count = stronger[part]
        fewest, most = int(count[0]), int(count[-1])
        # squares of distances; of places below 2000 they are whole numbers, so exact
        square = length[:most] - place[part] @ (2 * place[:most].T)
        square[:, fewest:][np.arange(fewest, most) >= count[:, None]] = np.inf
        radius[part] = square.min(axis=1, initial=np.inf) + length[part]
    return order[np.argsort(-radius, kind="stable")]
