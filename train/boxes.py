"""Boxes of voxels: where a patch is in its volume, and how much of it is within."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

Triple = tuple[int, int, int]
SpacingZYX = tuple[float, float, float]

_FLAT = 3  # times as long as thick: nnU-Net's ANISO_THRESHOLD


T = TypeVar("T")


def triple(numbers: Iterable[T]) -> tuple[T, T, T]:
    """Return three numbers as a tuple of known length."""
    z, y, x = numbers
    return z, y, x


@dataclass(frozen=True)
class PatchGrid:
    """The number of voxels of a patch along z, y, x, and their spacing in mm."""

    size_zyx: Triple
    spacing_zyx: SpacingZYX

    @property
    def is_flat(self) -> bool:
        """Return whether there are so few slices that spatial changes stay within a slice.

        Source: nnU-Net's dummy 2D augmentation.
        """
        return max(self.size_zyx) > _FLAT * self.size_zyx[0]


class Box(NamedTuple):
    """A box on a volume's grid, from its first voxel; it may reach beyond the volume."""

    start_zyx: Triple
    size_zyx: Triple

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Return the box as an index into a volume that holds it."""
        return triple(slice(s, s + n) for s, n in zip(self.start_zyx, self.size_zyx, strict=True))

    def within(self, shape_zyx: Triple) -> "Box":
        """Return the part of the box that lies within a volume."""
        ends = zip(self.start_zyx, self.size_zyx, shape_zyx, strict=True)
        stop = [min(start + size, limit) for start, size, limit in ends]
        start = triple(max(s, 0) for s in self.start_zyx)
        return Box(start, triple(b - a for a, b in zip(start, stop, strict=True)))

    def seen_from(self, other: "Box") -> "Box":
        """Return the same box, relative to the first voxel of another."""
        start = triple(s - o for s, o in zip(self.start_zyx, other.start_zyx, strict=True))
        return Box(start, self.size_zyx)


class Placement(NamedTuple):
    """Where a patch comes from.

    Attributes:
        patch: The patch's own box.
        centre_zyx: Voxel of the volume that the patch was to be centred on. A warp does not move
            it, so that a patch with foreground keeps its foreground.
        inside: The part of the volume that the patch is made from.
    """

    patch: Box
    centre_zyx: Triple
    inside: Box


def patch_box(centre_zyx: Triple, size_zyx: Triple, shape_zyx: Triple) -> Box:
    """Return the box around a voxel, moved into the volume along each axis that is long enough."""
    axes = zip(centre_zyx, size_zyx, shape_zyx, strict=True)
    return Box(triple(_start(*axis) for axis in axes), size_zyx)


def box_around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """Return the box around boxes, as an index; an empty one around none."""
    if not boxes:
        return (slice(0),) * 3
    return tuple(
        slice(min(s.start for s in sides), max(s.stop for s in sides))
        for sides in zip(*boxes, strict=True)
    )


def _start(centre: int, size: int, limit: int) -> int:
    if size >= limit:
        return (limit - size) // 2
    return min(max(centre - size // 2, 0), limit - size)
