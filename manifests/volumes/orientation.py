"""Orientation: which way the axes of an array point, and the same voxels with axes reordered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from manifests.volumes.grid import IDENTITY, Grid, corner_distance, harmonised_grid
from manifests.volumes.volume import Volume

UPRIGHT_VOXELS = 0.1  # a corner that is moved by so much hardly moves


@dataclass(frozen=True)
class AxisPermutation:
    """A new order of the axes of an array, some of them flipped.

    Attributes:
        order: The old axes that become x, y and z; 0 is x.
        flips: Whether each of these is flipped.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)


def closest_permutation(direction_lps: Sequence[float], grid: Grid) -> AxisPermutation:
    """Return the permutation that brings a grid's axes as close as possible to a direction."""
    along = np.asarray(direction_lps).reshape(3, 3).T @ np.asarray(grid.direction_lps).reshape(3, 3)
    x, y, z = max(permutations(range(3)), key=lambda p: sum(abs(along[range(3), p])))
    flips = (bool(along[0, x] < 0), bool(along[1, y] < 0), bool(along[2, z] < 0))
    return AxisPermutation((x, y, z), flips)


def reorient(volume: Volume, permutation: AxisPermutation) -> Volume:
    """Return the same voxels in the same place with permuted axes; a view."""
    old, order, flips = volume.grid, list(permutation.order), permutation.flips
    voxels = volume.voxels.transpose([2 - n for n in order[::-1]])
    voxels = voxels[tuple(slice(None, None, -1 if flip else 1) for flip in flips[::-1])]
    first = np.zeros(3)
    first[order] = np.where(flips, np.asarray(old.size_xyz)[order] - 1, 0)
    x, y, z = (old.size_xyz[n] for n in order)
    a, b, c = (old.spacing_mm[n] for n in order)
    i, j, k = old.position_mm(first).tolist()
    axes = np.asarray(old.direction_lps).reshape(3, 3)[:, order] * np.where(flips, -1.0, 1.0)
    grid = Grid((x, y, z), (a, b, c), (i, j, k), tuple(axes.ravel().tolist()))
    return replace(volume, voxels=voxels, grid=grid)


def upright(grid: Grid) -> Grid:
    """Return a grid with its axes along LPS, in any order, if that moves no corner noticeably.

    A header rounds a direction; otherwise a scan would be resampled for a hundredth of a voxel.
    """
    axes = np.rint(np.asarray(grid.direction_lps).reshape(3, 3))
    if not np.array_equal(axes.T @ axes, np.eye(3)):
        return grid
    middle = (np.asarray(grid.size_xyz) - 1) / 2
    origin = grid.position_mm(middle) - axes @ (middle * np.asarray(grid.spacing_mm))
    i, j, k = origin.tolist()
    straight = replace(grid, origin_mm=(i, j, k), direction_lps=tuple(axes.ravel().tolist()))
    off = corner_distance(grid.affine_lps, straight.affine_lps, grid.size_xyz)
    return straight if off <= UPRIGHT_VOXELS else grid


def native_grid(source: Grid) -> Grid:
    """Plan the grid of a harmonised case with the spacing that it has, and axes along LPS.

    Where the source's axes lie along LPS, in any order and either way, it has the same voxels.
    """
    order = list(closest_permutation(IDENTITY, source).order)
    x, y, z = (source.spacing_mm[n] for n in order)
    return harmonised_grid(source, (x, y, z))


def orientation_code(grid: Grid) -> str:
    """Name which way each array axis points, such as "LPS" for an identity direction.

    An oblique axis is named after the nearest anatomical one, each name used once. The letters say
    where an axis points *to*, as in nibabel and SimpleITK.
    """
    closest = closest_permutation(IDENTITY, grid)
    letters = ("LR"[closest.flips[0]], "PA"[closest.flips[1]], "SI"[closest.flips[2]])
    return "".join(letters[closest.order.index(axis)] for axis in range(3))
