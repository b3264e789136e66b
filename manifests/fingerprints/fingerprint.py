"""The fingerprint of a CT: keypoints and slices by which its copies and parts are recognised."""

import base64
import math
from dataclasses import dataclass, field
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.body_slices import (
    AXES,
    FREQUENCIES,
    SLICES,
    BodySlices,
    find_body_slices,
)
from manifests.fingerprints.extrema import Values, binomial_sums
from manifests.fingerprints.keypoints import (
    FRAMES,
    SMOOTHED,
    Keypoints,
    find_keypoints,
    find_smooth_keypoints,
    smoothing,
)
from manifests.volumes.downsampling import middle_means
from manifests.volumes.grid import Grid
from manifests.volumes.resampling.oblique import oblique_sample
from manifests.volumes.resampling.separable import along_axes, parallel_axes, weighted_sums
from manifests.volumes.volume import Volume

VERSIONS = (1, 2)  # the first has no slices
MARK = "2:"  # before the text of the second, which is shorter than base64
LATTICE_MM = 3.0
LEAST_THINNED = 1.5  # voxels of the scan to one of the lattice
MOST_ON_VOXELS, MOST_ON_LATTICE = 128, 64
MOST_LATTICE_POINTS = 1 << 26  # more come from a header that is wrong
AIR_HU = -1000.0
_HEAD = np.dtype([("size", "<u2", 3), ("count", "<u2")])
_KEYPOINTS = {
    1: np.dtype([("position", "<u2", 3), ("frame", "u1"), ("code", "<u8")]),
    2: np.dtype([("place", "u1", 5), ("code", "<u8")]),  # of 2^40, frame and position as one number
}


@dataclass(frozen=True)
class Fingerprint:
    """Keypoints and slices of one CT.

    Attributes:
        on_voxels: In its own array, whatever its header says; they are those of every copy whose
            voxels were not resampled.
        on_lattice: On the points of space whose coordinates are multiples of 3 mm; they are those
            of resampled copies too, as long as the headers agree on where the patient is.
        of_body: Slices in the body's own size; they are much like those of all copies.
    """

    on_voxels: Keypoints
    on_lattice: Keypoints
    of_body: BodySlices = field(default_factory=BodySlices.none)

    @classmethod
    def of(cls, image: Volume) -> Self:
        """Compute the fingerprint of a volume in Hounsfield units, before it is resampled."""
        return cls(
            find_keypoints(image.voxels, most=MOST_ON_VOXELS),
            find_smooth_keypoints(_on_lattice(image), most=MOST_ON_LATTICE),
            find_body_slices(image.voxels),
        )

    def to_text(self) -> str:
        """Return the fingerprint as the manifest keeps it: at most 3.9 kB of ASCII."""
        content = b"".join(map(_to_bytes, (self.on_voxels, self.on_lattice)))
        body = bytes([self.of_body.axes]) + self.of_body.code.tobytes()
        return MARK + base64.b85encode(content + body).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` gives, or gave before there were slices.

        Raises:
            ValueError: It is something else.
        """
        if text.startswith(MARK):
            version, content = 2, base64.b85decode(text[len(MARK) :])
        else:
            content = base64.b64decode(text, validate=True)
            version, content = content[0] if content else 0, content[1:]
        if version not in VERSIONS:
            msg = f"expected a fingerprint of version 1 or 2, got {text[:20]!r}"
            raise ValueError(msg)
        on_voxels, rest = _from_bytes(content, version)
        on_lattice, rest = _from_bytes(rest, version)
        if version == 1 and not rest:
            return cls(on_voxels, on_lattice)
        return cls(on_voxels, on_lattice, _body_from_bytes(rest))


def is_newest(text: str) -> bool:
    """Return whether a fingerprint's text is of the version that is written now."""
    return text.startswith(MARK)


def _on_lattice(image: Volume) -> Values:
    """Thin out what is finer than the lattice, interpolate linearly at its points, and smooth."""
    ratios = (LATTICE_MM / mm - 0.2 for mm in image.grid.spacing_mm)
    factors = [
        min(2 * max(1, round(ratio / 2)), size) if ratio > LEAST_THINNED else 1
        for ratio, size in zip(ratios, image.grid.size_xyz, strict=True)
    ]
    coarse = middle_means(image, factors) if max(factors) > 1 else image
    grid = coarse.grid
    corners = grid.position_mm(np.array(list(product(*((0, n - 1) for n in grid.size_xyz)))))
    low = np.ceil(corners.min(axis=0) / LATTICE_MM - 1e-6) * LATTICE_MM
    size = np.maximum(np.floor((corners.max(axis=0) - low) / LATTICE_MM + 1e-6) + 1, 1)
    if math.prod(size) > MOST_LATTICE_POINTS or min(size) <= 2 * SMOOTHED:
        return np.zeros((1, 1, 1), np.float32)
    x, y, z = (int(n) for n in size)
    spacing_mm = (LATTICE_MM, LATTICE_MM, LATTICE_MM)
    lattice = Grid((x, y, z), spacing_mm, tuple(low.tolist()))
    axes = parallel_axes(grid, lattice)
    if axes is None:
        values = oblique_sample(coarse, lattice, outside=AIR_HU)
        return binomial_sums(values, values.shape, times=2 * SMOOTHED)
    # both in one, since either is a product with a matrix
    weights = [smoothing(axis.count) @ axis.weights("linear") for axis in axes[::-1]]
    smooth = np.empty([len(along) for along in weights], np.float32)
    weighted_sums(along_axes(coarse.voxels, axes), weights, smooth.__setitem__)
    return smooth


def _to_bytes(keypoints: Keypoints) -> bytes:
    head = np.array([(keypoints.size, len(keypoints.code))], _HEAD)
    body = np.zeros(len(keypoints.code), _KEYPOINTS[2])
    number = np.ravel_multi_index(tuple(keypoints.position.T), keypoints.size)
    place = np.asarray(number, "<u8") * len(FRAMES) + keypoints.frame
    body["place"] = place.view(np.uint8).reshape(-1, 8)[:, :5]
    body["code"] = keypoints.code
    return head.tobytes() + body.tobytes()


def _from_bytes(content: bytes, version: int) -> tuple[Keypoints, bytes]:
    head = np.frombuffer(content, _HEAD, count=1)[0]
    kind = _KEYPOINTS[version]
    stop = _HEAD.itemsize + int(head["count"]) * kind.itemsize
    body: NDArray[np.void] = np.frombuffer(content[_HEAD.itemsize : stop], kind)
    size = tuple(int(n) for n in head["size"])
    if version == 1:
        position, frame = body["position"].astype(np.int64), body["frame"]
    else:
        place = np.zeros((len(body), 8), np.uint8)
        place[:, :5] = body["place"]
        number, turn = np.divmod(place.view("<u8")[:, 0].astype(np.int64), len(FRAMES))
        position, frame = _unravelled(number, size), turn.astype(np.uint8)
    if len(body) != head["count"] or (frame >= len(FRAMES)).any():
        msg = "a fingerprint that is cut short or damaged"
        raise ValueError(msg)
    return Keypoints(size, position, frame, body["code"]), content[stop:]


def _unravelled(number: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return positions [n, 3] from their numbers; a number beyond the array is refused."""
    return np.stack(np.unravel_index(number, size), axis=1).astype(np.int64).reshape(-1, 3)


def _body_from_bytes(content: bytes) -> BodySlices:
    code = np.frombuffer(content[1:], np.int8)
    if len(code) not in (0, SLICES * len(FREQUENCIES)) or content[0] >= len(AXES):
        msg = f"a fingerprint whose slices take {len(content)} bytes"
        raise ValueError(msg)
    return BodySlices(content[0], code.reshape(-1, len(FREQUENCIES)))
