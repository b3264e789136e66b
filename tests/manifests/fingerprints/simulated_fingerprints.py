"""Fingerprints of patients that never were, as many as wanted, of which some are parts of others.

Codes coincide by chance more often than those of two real patients do: 1.5 in 10,000 pairs of
keypoints here, 0.2 in 10,000 there.
"""

import numpy as np
from scipy import ndimage

from manifests.fingerprints.body_slices import FREQUENCIES, SLICES, BodySlices
from manifests.fingerprints.fingerprint import MOST_ON_LATTICE, MOST_ON_VOXELS, Fingerprint
from manifests.fingerprints.keypoints import FRAMES, Keypoints

SIZES = ((150, 512, 512), (130, 110, 110))  # voxels, points of the lattice
SPREAD = 0.6 ** np.arange(6)  # of what surrounds keypoints, in six directions
EVERY = 10  # one case in so many is a part of the one before
SLICES_OF_PART = 0.4  # of that one that the part has
SURVIVE = 0.6  # of the keypoints there
RESAMPLED = 20  # one part in two has none of them, and is found by the body only
ALIKE = 0.6  # of what is seen of a body, in all patients


def simulated(count: int, seed: int = 0) -> tuple[list[Fingerprint], set[tuple[int, int]]]:
    """Fingerprints, and the pairs of which the second is a part of the first, turned."""
    rng = np.random.default_rng(seed)
    to_bits = rng.normal(size=(6, 64))
    found: list[Fingerprint] = []
    related = set()
    for number in range(count):
        if number % EVERY == EVERY - 1:
            resampled = number % RESAMPLED == RESAMPLED - 1
            found.append(_part(found[-1], rng, to_bits, resampled=resampled))
            related.add((number - 1, number))
        else:
            on_voxels, on_lattice = (
                _keypoints(rng, to_bits, size, most)
                for size, most in zip(SIZES, (MOST_ON_VOXELS, MOST_ON_LATTICE), strict=True)
            )
            found.append(Fingerprint(on_voxels, on_lattice, _body(rng)))
    return found, related


def _keypoints(rng, to_bits, size, count):
    bits = rng.normal(size=(count, 6)) * SPREAD @ to_bits > 0
    code = np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
    position = np.stack([rng.integers(5, n - 5, count) for n in size], axis=1)
    return Keypoints(size, position, rng.integers(0, 48, count).astype(np.uint8), code)


def _part(whole, rng, to_bits, *, resampled):
    slab = _slab(whole.on_voxels, rng, to_bits)
    return Fingerprint(
        _keypoints(rng, to_bits, slab.size, len(slab.code)) if resampled else slab,
        _keypoints(rng, to_bits, SIZES[1], MOST_ON_LATTICE),  # its header is lost
        _part_of_body(whole.of_body, rng),
    )


def _body(rng):
    """Slices that change slowly along a body, and are somewhat alike in all."""
    common = _smooth(np.random.default_rng(0))
    return BodySlices(0, _as_codes(ALIKE * common + (1 - ALIKE**2) ** 0.5 * _smooth(rng)))


def _smooth(rng):
    size = (SLICES, len(FREQUENCIES))
    along = ndimage.gaussian_filter1d(rng.normal(size=size), 1.5, axis=0)
    return along / along.std()


def _part_of_body(whole, rng):
    """As many slices of a part, with noise, flipped."""
    start = rng.uniform(0, 1 - SLICES_OF_PART)
    place = (start + SLICES_OF_PART * (np.arange(SLICES) + 0.5) / SLICES) * SLICES - 0.5
    code = ndimage.map_coordinates(
        whole.code.astype(float), np.meshgrid(place, np.arange(26), indexing="ij"), order=1,
        mode="nearest",
    )  # fmt: skip
    signs = np.prod(np.where(FREQUENCIES % 2, rng.choice((1, -1), 2), 1), axis=1)
    step = rng.choice((1, -1))
    return BodySlices(0, _as_codes(code[::step] * signs + rng.normal(0, 3, code.shape)))


def _as_codes(values):
    return np.rint(values * 127 / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.int8)


def _slab(whole, rng, to_bits):
    """Some slices, in a random turn; keypoints near others are new."""
    depth = round(whole.size[0] * SLICES_OF_PART)
    start = rng.integers(0, whole.size[0] - depth + 1)
    turn = FRAMES[rng.integers(48)]
    size = np.abs(turn @ (depth, *whole.size[1:]))
    inside = (whole.position[:, 0] >= start + 5) & (whole.position[:, 0] < start + depth - 5)
    kept = np.flatnonzero(inside & (rng.random(len(inside)) < SURVIVE))
    shift = np.where(turn.min(axis=1) < 0, size - 1, 0)
    position = (whole.position[kept] - (start, 0, 0)) @ turn.T + shift
    frames = FRAMES[whole.frame[kept]] @ turn.T
    frame = (frames[:, None] == FRAMES).all(axis=(2, 3)).argmax(axis=1).astype(np.uint8)
    new = _keypoints(rng, to_bits, tuple(size.tolist()), len(whole.code) - len(kept))
    return Keypoints(
        new.size,
        np.concatenate([position, new.position]),
        np.concatenate([frame, new.frame]),
        np.concatenate([whole.code[kept], new.code]),
    )
