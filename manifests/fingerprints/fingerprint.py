"""The fingerprint of a CT: keypoints by which its copies and parts are recognised."""

import base64
import math
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.keypoints import FRAMES, Keypoints, find_keypoints
from manifests.volumes.downsampling import bin_means
from manifests.volumes.grid import Grid
from manifests.volumes.resampling.resampling import resample_linear
from manifests.volumes.volume import Volume

VERSION = 1
LATTICE_MM = 3.0
MOST_ON_VOXELS, MOST_ON_LATTICE = 128, 64
MOST_LATTICE_POINTS = 1 << 26  # more come from a header that is wrong
AIR_HU = -1000.0
_HEAD = np.dtype([("size", "<u2", 3), ("count", "<u2")])
_KEYPOINT = np.dtype([("position", "<u2", 3), ("frame", "u1"), ("code", "<u8")])


@dataclass(frozen=True)
class Fingerprint:
    """Keypoints of one CT.

    Attributes:
        on_voxels: In its own array, whatever its header says; they are those of every copy whose
            voxels were not resampled.
        on_lattice: On the points of space whose coordinates are multiples of 3 mm; they are those
            of resampled copies too, as long as the headers agree on where the patient is.
    """

    on_voxels: Keypoints
    on_lattice: Keypoints

    @classmethod
    def of(cls, image: Volume) -> Self:
        """Compute the fingerprint of a volume in Hounsfield units, before it is resampled."""
        lattice = _on_lattice(image)
        return cls(
            find_keypoints(image.voxels, most=MOST_ON_VOXELS),
            find_keypoints(lattice.voxels, most=MOST_ON_LATTICE),
        )

    def to_text(self) -> str:
        """Return the fingerprint as the manifest keeps it: base64, at most 3.9 kB."""
        content = bytes([VERSION]) + _to_bytes(self.on_voxels) + _to_bytes(self.on_lattice)
        return base64.b64encode(content).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` gave.

        Raises:
            ValueError: It is something else.
        """
        content = base64.b64decode(text, validate=True)
        if content[:1] != bytes([VERSION]):
            msg = f"expected a fingerprint of version {VERSION}, got {text[:20]!r}"
            raise ValueError(msg)
        on_voxels, rest = _from_bytes(content[1:])
        on_lattice, rest = _from_bytes(rest)
        if rest:
            msg = f"a fingerprint with {len(rest)} bytes too many"
            raise ValueError(msg)
        return cls(on_voxels, on_lattice)


def _on_lattice(image: Volume) -> Volume:
    """Average what is finer than the lattice, then interpolate linearly at its points."""
    factors = [
        min(max(1, round(LATTICE_MM / spacing - 0.2)), size)
        for spacing, size in zip(image.grid.spacing_mm, image.grid.size_xyz, strict=True)
    ]
    coarse = bin_means(image, factors) if max(factors) > 1 else image
    grid = coarse.grid
    corners = grid.position_mm(np.array(list(product(*((0, n - 1) for n in grid.size_xyz)))))
    low = np.ceil(corners.min(axis=0) / LATTICE_MM - 1e-6) * LATTICE_MM
    size = np.maximum(np.floor((corners.max(axis=0) - low) / LATTICE_MM + 1e-6) + 1, 1)
    if math.prod(size) > MOST_LATTICE_POINTS:
        return Volume(np.zeros((1, 1, 1), np.float32), Grid((1, 1, 1), (1.0, 1.0, 1.0)))
    x, y, z = (int(n) for n in size)
    spacing_mm = (LATTICE_MM, LATTICE_MM, LATTICE_MM)
    lattice = Grid((x, y, z), spacing_mm, tuple(low.tolist()))
    return resample_linear(coarse, lattice, outside=AIR_HU)


def _to_bytes(keypoints: Keypoints) -> bytes:
    head = np.array([(keypoints.size, len(keypoints.code))], _HEAD)
    body = np.zeros(len(keypoints.code), _KEYPOINT)
    for name in ("position", "frame", "code"):
        body[name] = getattr(keypoints, name)
    return head.tobytes() + body.tobytes()


def _from_bytes(content: bytes) -> tuple[Keypoints, bytes]:
    head = np.frombuffer(content, _HEAD, count=1)[0]
    stop = _HEAD.itemsize + int(head["count"]) * _KEYPOINT.itemsize
    body: NDArray[np.void] = np.frombuffer(content[_HEAD.itemsize : stop], _KEYPOINT)
    if len(body) != head["count"] or (body["frame"] >= len(FRAMES)).any():
        msg = "a fingerprint that is cut short or damaged"
        raise ValueError(msg)
    size = tuple(int(n) for n in head["size"])
    position = body["position"].astype(np.int64)
    return Keypoints(size, position, body["frame"], body["code"]), content[stop:]
