"""Metrics: how far a predicted class is from the labelled one, on one grid.

A surface is the set of voxels that a mask loses when it is eroded by one voxel along each axis;
what lies outside the volume counts as not in the mask. Distances run between voxel centres.

Where a metric has no value, it says so rather than flatter:

| prediction | truth | Dice | distances |
|---|---|---|---|
| empty | empty | NaN: nothing to score | NaN |
| one of them empty | | 0 | infinite: there is no surface to be near to |

A mean cannot hold an infinite distance, and leaving it out would reward a network for missing an
organ altogether. A mean therefore takes the volume's diagonal in its place (`diagonal_mm`): no two
points of the volume are farther apart.

Source: Maier-Hein et al., Metrics Reloaded, Nature Methods 21 (2024), whose guidance is to score a
failed prediction with the worst value; BraTS takes the diagonal likewise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial import KDTree

Mask = Bool[np.ndarray, "z y x"]
Distances = Float[np.ndarray, " points"]
Vector = Sequence[float]

_LEAF = 32  # points; one batch of queries a tree does not repay the default's deeper tree
# One point in the tree costs as much as this many voxels of a distance transform. An organ with a
# far-off false positive fills little of its box; a network that knows nothing yet fills all of it.
_VOXELS_PER_POINT = 20


class SurfaceDistance(NamedTuple):
    """How far two surfaces are apart, in mm.

    Attributes:
        hausdorff_mm: The Hausdorff distance: the greater of the two directed maxima.
        hd95_mm: The greater of the two directed 95th percentiles (linear interpolation), as in
            MONAI and the challenges; not the percentile of both directions pooled.
    """

    hausdorff_mm: float
    hd95_mm: float


def dice(prediction: Mask, truth: Mask) -> float:
    """Twice the overlap over the sum of the two sizes; NaN if both masks are empty.

    Source: Shi et al. 2021, section 4.5.
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(prediction & truth) / total if total else math.nan


def surface_distance(prediction: Mask, truth: Mask, *, spacing_mm: Vector) -> SurfaceDistance:
    """Hausdorff distance and its 95th percentile in one pass.

    Args:
        prediction: Mask [z, y, x].
        truth: Mask on the same grid.
        spacing_mm: Spacing along x, y, z.

    Returns:
        Distances in mm: NaN if both masks are empty, infinite if one is.
    """
    present = prediction.any(), truth.any()
    if not all(present):
        nothing = math.inf if any(present) else math.nan
        return SurfaceDistance(nothing, nothing)
    box = _bounding_box(prediction | truth)
    spacing_zyx = np.array(spacing_mm[::-1], dtype=np.float64)
    one, other = _surface(prediction[box]), _surface(truth[box])
    directed = _nearest_mm(one, other, spacing_zyx), _nearest_mm(other, one, spacing_zyx)
    return SurfaceDistance(
        hausdorff_mm=max(float(d.max()) for d in directed),
        hd95_mm=max(float(np.percentile(d, 95)) for d in directed),
    )


def diagonal_mm(shape_zyx: Sequence[int], spacing_mm: Vector) -> float:
    """Length of a volume's diagonal between its outermost voxel centres.

    Args:
        shape_zyx: Voxels along z, y, x.
        spacing_mm: Spacing along x, y, z.
    """
    pairs = zip(shape_zyx, reversed(spacing_mm), strict=True)
    return math.hypot(*((n - 1) * step for n, step in pairs))


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    # one axis after the other, each on what the last one left, so that most of it is never read
    box: list[slice] = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def _surface(mask: Mask) -> Mask:
    # erosion takes the outside of the box as empty: the box's own faces count as surface
    return mask & ~binary_erosion(mask)


def _nearest_mm(start: Mask, goal: Mask, spacing_zyx: Float[np.ndarray, "3"]) -> Distances:
    """Distance from each voxel of one surface to the nearest voxel of another."""
    points = np.count_nonzero(start) + np.count_nonzero(goal)
    if points * _VOXELS_PER_POINT > goal.size:
        return np.asarray(distance_transform_edt(~goal, sampling=spacing_zyx))[start]
    tree = KDTree(np.argwhere(goal) * spacing_zyx, leafsize=_LEAF)
    distances, _ = tree.query(np.argwhere(start) * spacing_zyx)
    return distances
