"""Slabs: a large volume some layers at a time, to spare memory."""

import math
from collections.abc import Iterator, Sequence

SLAB_VOXELS = 1 << 22  # 32 MB as double precision


def slabs(shape_zyx: Sequence[int]) -> Iterator[slice]:
    """Cut the first axis of a shape into slices of `SLAB_VOXELS` at most, or of one layer."""
    layers, *layer = shape_zyx
    depth = max(1, SLAB_VOXELS // max(1, math.prod(layer)))
    return (slice(at, min(at + depth, layers)) for at in range(0, layers, depth))
