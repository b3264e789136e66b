"""Orientation: which way the axes of an array run, and the same voxels on axes turned round."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from manifests.volumes.grid import IDENTITY, Grid
from manifests.volumes.volume import Volume


@dataclass(frozen=True)
class Turn:
    """What becomes of the axes of an array.

    Attributes:
        order: Which axis becomes x, which y and which z; 0 is x.
        flips: Whether it runs backwards then.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)


def turn_towards(direction_lps: Sequence[float], grid: Grid) -> Turn:
    """The turn after which a grid's axes run as nearly as may be as those of a direction.

    Args:
        direction_lps: Row-major 3 x 3 matrix, as a grid's.
        grid: Of the volume that is to be turned.
    """
    along = np.asarray(direction_lps).reshape(3, 3).T @ np.asarray(grid.direction_lps).reshape(3, 3)
    x, y, z = max(permutations(range(3)), key=lambda p: sum(abs(along[range(3), p])))
    return Turn((x, y, z), (bool(along[0, x] < 0), bool(along[1, y] < 0), bool(along[2, z] < 0)))


def turned(volume: Volume, turn: Turn) -> Volume:
    """The same voxels in the same place with other axes; a view."""
    old, order = volume.grid, list(turn.order)
    voxels = volume.voxels.transpose([2 - n for n in order[::-1]])
    voxels = voxels[tuple(slice(None, None, -1 if flip else 1) for flip in turn.flips[::-1])]
    first = np.zeros(3)
    first[order] = np.where(turn.flips, np.asarray(old.size_xyz)[order] - 1, 0)
    x, y, z = (old.size_xyz[n] for n in order)
    a, b, c = (old.spacing_mm[n] for n in order)
    i, j, k = old.position_mm(first).tolist()
    axes = np.asarray(old.direction_lps).reshape(3, 3)[:, order] * np.where(turn.flips, -1.0, 1.0)
    grid = Grid((x, y, z), (a, b, c), (i, j, k), tuple(axes.ravel().tolist()))
    return replace(volume, voxels=voxels, grid=grid)


def orientation_code(grid: Grid) -> str:
    """Name which way each array axis points, such as "LPS" for an identity direction.

    An oblique axis is named after the nearest anatomical one, each name used once. The letters say
    where an axis points *to*, as in nibabel and SimpleITK.
    """
    turn = turn_towards(IDENTITY, grid)
    letters = ("LR"[turn.flips[0]], "PA"[turn.flips[1]], "SI"[turn.flips[2]])
    return "".join(letters[turn.order.index(axis)] for axis in range(3))
