"""Boxes of voxels: where a patch lies in its volume, and how much of it lies within."""

from dataclasses import dataclass
from typing import NamedTuple

Triple = tuple[int, int, int]
SpacingZYX = tuple[float, float, float]

_FLAT = 3


@dataclass(frozen=True)
class PatchGrid:
    """The voxels of a patch.

    Attributes:
        size_zyx: How many along z, y, x.
        spacing_zyx: Their distance in mm.
    """

    size_zyx: Triple
    spacing_zyx: SpacingZYX

    @property
    def is_flat(self) -> bool:
        """Whether there are so few slices that spatial changes stay within them.

        Source: nnU-Net's dummy 2D augmentation.
        """
        return max(self.size_zyx) > _FLAT * self.size_zyx[0]


class Box(NamedTuple):
    """A box on a volume's grid, which may reach beyond the volume.

    Attributes:
        start_zyx: Its first voxel.
        size_zyx: Voxels along z, y, x.
    """

    start_zyx: Triple
    size_zyx: Triple

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into a volume that holds it."""
        z, y, x = (slice(s, s + n) for s, n in zip(self.start_zyx, self.size_zyx, strict=True))
        return z, y, x

    def within(self, shape_zyx: Triple) -> "Box":
        """The part of the box that lies within a volume."""
        spans = [
            (max(s, 0), min(s + n, limit))
            for s, n, limit in zip(self.start_zyx, self.size_zyx, shape_zyx, strict=True)
        ]
        (z0, z1), (y0, y1), (x0, x1) = spans
        return Box((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))

    def seen_from(self, other: "Box") -> "Box":
        """The same box, counted from the first voxel of another."""
        z, y, x = (s - o for s, o in zip(self.start_zyx, other.start_zyx, strict=True))
        return Box((z, y, x), self.size_zyx)


class Placement(NamedTuple):
    """Where a patch comes from.

    Attributes:
        patch: Its own box.
        centre_zyx: Voxel that it was to be centred on; it stays where it is in the patch, so that
            a patch with foreground keeps it.
        inside: The part of the volume that it is made from.
    """

    patch: Box
    centre_zyx: Triple
    inside: Box


def patch_box(centre_zyx: Triple, size_zyx: Triple, shape_zyx: Triple) -> Box:
    """The box around a voxel, moved to lie within the volume along each axis that allows."""
    z, y, x = (
        _start(c, n, limit) for c, n, limit in zip(centre_zyx, size_zyx, shape_zyx, strict=True)
    )
    return Box((z, y, x), size_zyx)


def _start(centre: int, size: int, limit: int) -> int:
    if size >= limit:
        return (limit - size) // 2
    return min(max(centre - size // 2, 0), limit - size)
