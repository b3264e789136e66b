"""Surfaces of masks: which voxels they are, and how far one lies from another."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

Mask = Bool[np.ndarray, "z y x"]
Distances = Float[np.ndarray, " points"]
Vector = Sequence[float]

# Voxels around a surface voxel that are looked at one by one before a tree is asked: two surfaces
# of one organ are mostly this near, and a look costs a hundredth of a query. Chosen by
# tests/benchmarks/metrics.py; half or twice as many take the same time.
_NEIGHBOURS = 64
_LEAF = 32  # points; one batch of queries a tree does not repay the default's deeper tree


def surface(mask: Mask, ignored: Mask | None = None) -> Mask:
    """Return the voxels that a mask loses when it is eroded by one voxel along each axis.

    What lies outside the volume counts as not in the mask. Nothing is known of an ignored voxel, so
    it makes no surface, unless the mask has no other.
    """
    if ignored is not None:
        known = mask & surface(mask | ignored)
        return known if known.any() else surface(mask)
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            neighbour = [slice(1, -1)] * mask.ndim
            neighbour[axis] = side
            inner &= padded[tuple(neighbour)]
    return mask & ~inner


def nearest_mm(start: Mask, goal: Mask, *, spacing_mm: Vector) -> Distances:
    """Return the distance from each voxel of one surface to the nearest of another, in C order.

    Exact: the neighbours of a voxel are looked at from the nearest on, and what is farther than
    all of them is asked of a k-d tree.

    Args:
        start: The surface to go from.
        goal: The surface to go to, on the same grid; not empty.
        spacing_mm: Spacing along x, y, z.
    """
    spacing_zyx = tuple(spacing_mm[::-1])
    steps, steps_mm = _neighbours(spacing_zyx)
    # a rim as wide as the longest step, so that no step leaves the array
    rim = [(n, n) for n in steps.max(axis=0)]
    goals = np.pad(goal, rim)
    points, is_goal = np.flatnonzero(np.pad(start, rim)), goals.ravel()
    distances = np.empty(points.size)
    open_points = np.arange(points.size)
    for jump, length_mm in zip((steps @ goals.strides).tolist(), steps_mm.tolist(), strict=True):
        found = is_goal[points + jump]
        distances[open_points[found]] = length_mm
        points, open_points = points[~found], open_points[~found]
        if not points.size:
            return distances
    goal_mm = _positions_mm(np.flatnonzero(goals), goals.shape, spacing_zyx)
    tree = KDTree(goal_mm, leafsize=_LEAF, compact_nodes=False, balanced_tree=False)
    distances[open_points], _ = tree.query(_positions_mm(points, goals.shape, spacing_zyx))
    return distances


def _positions_mm(
    points: Int[np.ndarray, " n"], shape: tuple[int, ...], spacing_zyx: tuple[float, ...]
) -> Float[np.ndarray, "n 3"]:
    return np.stack(np.unravel_index(points, shape), axis=1) * spacing_zyx


@lru_cache(maxsize=16)
def _neighbours(
    spacing_zyx: tuple[float, ...],
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """Return steps to the voxels of a ball around a voxel, and their lengths, shortest first."""
    radius_mm = float(np.cbrt(_NEIGHBOURS * np.prod(spacing_zyx) * 3 / (4 * np.pi)))
    reach = [int(radius_mm / step) for step in spacing_zyx]
    box = np.indices([2 * n + 1 for n in reach]).reshape(3, -1).T - reach
    lengths_mm = np.sqrt(((box * spacing_zyx) ** 2).sum(axis=1))
    order = np.argsort(lengths_mm, kind="stable")[: np.count_nonzero(lengths_mm <= radius_mm)]
    return box[order], lengths_mm[order]
