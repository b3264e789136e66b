"""Slices in the body's own size: how a CT is recognised that was resampled and lost its header.

Each slice is measured in standard deviations of the body that it shows, so neither its spacing nor
what lies around the body matters. Of that picture only a few frequencies are kept. Flips change
their signs alone, and turns, which are told by where the body is cut off, their order.

Source: the normalisation by moments is that of Hu 1962, the choice of frequencies that of
perceptual hashes of photographs.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

SLICES = 20  # of equal thickness, from one end of the array to the other
LEAST_HU, GREATEST_HU = -200.0, 250.0
BODY_HU = 0.0  # and above count fully as body, `LEAST_HU` not at all
REACH = 1.75  # standard deviations of the body to each side that are looked at
BINS = 16  # that they are divided into
LOWEST, HIGHEST = 4, 7  # sums of the two frequencies: of details, not of how all bodies are built
FREQUENCIES = np.array(
    [(y, x) for y in range(BINS) for x in range(BINS) if LOWEST <= y + x <= HIGHEST]
)
AXES = tuple(permutations(range(3)))
LEAST_DETAIL = 60.0  # length of what is kept; of real slices 110 and more, of plain material 23
LEAST_BODY = 0.02  # of a slice; of one with less nothing is kept
MOST_LOOKED_AT = 128  # voxels along an axis, evenly spread


@dataclass(frozen=True)
class BodySlices:
    """The slices of one CT.

    Attributes:
        axes: Place in `AXES` of the array's axes that run through the slices, along the shorter and
            along the longer side of the body.
        code: [20, 26] whole numbers, of length 127 each, or 0; [0, 26] if it shows no body.
    """

    axes: int
    code: NDArray[np.int8]

    @cached_property
    def directions(self) -> Values:
        """The code at length 1, or 0: computed once for a scan that many are held against."""
        code = self.code.astype(np.float32)
        return code / np.maximum(np.linalg.norm(code, axis=1, keepdims=True), 1)

    @classmethod
    def none(cls) -> "BodySlices":
        """Return what is known of a CT that shows no body."""
        return cls(0, np.zeros((0, len(FREQUENCIES)), np.int8))


def find_body_slices(hu: NDArray[np.generic]) -> BodySlices:
    """Look at the slices of a CT that cut its body off.

    Args:
        hu: Hounsfield units in an array of three axes, of any spacing.
    """
    steps = [-(-n // MOST_LOOKED_AT) for n in hu.shape]
    few = hu[tuple(slice(None, None, step) for step in steps)]
    values = few.astype(np.float32).clip(LEAST_HU, GREATEST_HU) - np.float32(LEAST_HU)
    through = _cut_off(values)
    rest = [axis for axis in range(3) if axis != through]
    ends: NDArray[np.float64] = np.linspace(0, values.shape[through], SLICES + 1, dtype=np.float64)
    slices = _overlaps(ends, values.shape[through])
    slices /= slices.sum(axis=1, keepdims=True)
    pictures = np.tensordot(slices, values, (1, through))
    moments = [[_moments(_body(p).sum(axis=1 - side)) for side in (0, 1)] for p in pictures]
    spread = np.array([[m[1] for m in sides] for sides in moments])
    if not spread.any():
        return BodySlices.none()
    width = spread.mean(axis=0) * [steps[axis] for axis in rest]
    if width[0] > width[1]:
        rest.reverse()
        pictures = pictures.swapaxes(1, 2)
        moments = [sides[::-1] for sides in moments]
    code = np.stack([_code(p, m) for p, m in zip(pictures, moments, strict=True)])
    if not code.any():
        return BodySlices.none()
    return BodySlices(AXES.index((through, *rest)), code)


def _body(values: Values) -> Values:
    """Return how much of each voxel is body: not a mask, so that resampling hardly matters."""
    full = np.float32(BODY_HU - LEAST_HU)
    return np.divide(np.minimum(values, full), full, dtype=np.float32)


def _cut_off(values: Values) -> int:
    """Return the axis on whose faces there is most body."""
    faces = [values.take((0, -1), axis) for axis in range(3)]
    return int(np.argmax([_body(face).mean() for face in faces]))


def _moments(profile: Values) -> tuple[float, float]:
    """Return the mean and the standard deviation of a body along an axis; (0, 0) for no body."""
    mass = float(profile.sum())
    if mass < LEAST_BODY * len(profile) ** 2:
        return 0.0, 0.0
    place = np.arange(len(profile)) + 0.5
    mean = float(profile @ place) / mass
    return mean, float(np.sqrt(profile @ (place - mean) ** 2 / mass))


def _code(picture: Values, moments: list[tuple[float, float]]) -> NDArray[np.int8]:
    """Return what is kept of one slice."""
    if not all(spread for _, spread in moments):
        return np.zeros(len(FREQUENCIES), np.int8)
    edges: NDArray[np.float64] = np.linspace(-REACH, REACH, BINS + 1, dtype=np.float64)
    rows, columns = (
        _overlaps(mean + spread * edges, size) / np.float32(spread)
        for (mean, spread), size in zip(moments, picture.shape, strict=True)
    )
    binned = (rows @ picture @ columns.T).astype(np.float64)
    every = _cosines() @ binned @ _cosines().T
    waves = every[FREQUENCIES[:, 0], FREQUENCIES[:, 1]] * FREQUENCIES.sum(axis=1)
    length = float(np.linalg.norm(waves))
    return np.rint(waves * (127 / length if length >= LEAST_DETAIL else 0)).astype(np.int8)


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the orthonormal waves of the discrete cosine transform [16, 16]."""
    angle = np.pi * np.arange(BINS)[:, None] * (np.arange(BINS) + 0.5) / BINS
    return np.cos(angle) * np.sqrt(np.where(np.arange(BINS), 2, 1) / BINS)[:, None]


def _overlaps(edges: NDArray[np.float64], size: int) -> Values:
    """Return how much of each voxel [bins, size] lies in the bins between edges."""
    start = np.arange(size)
    high, low = np.minimum(edges[1:, None], start + 1), np.maximum(edges[:-1, None], start)
    return np.maximum(high - low, 0).astype(np.float32)
