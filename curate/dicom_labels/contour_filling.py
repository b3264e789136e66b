"""Filling the contours of one plane: which voxels of a slice they contain.

skimage and matplotlib, which do this contour by contour and voxel by voxel, took 3 to 5 s for the
outline of a body, and do not say what two contours along one line, as of a keyhole, contain.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FAR = 1e6  # voxels
SNAP_VOXELS = 1e-3  # a coordinate in text, or in single precision, is off a voxel's centre by less

Points = NDArray[np.float64]


def filled(contours: Sequence[Points], shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the voxels [y, x] whose centres lie within an odd number of contours, or on a line.

    A contour within another is therefore a hole, and one that runs to its hole and back, as a
    keyhole does, has it too. A contour that contains no centre, as of a voxel at its own centre,
    stands for the voxels nearest to its points.

    Args:
        contours: Points [n, 2] of each, as indices x, y, fractions allowed.
        shape_yx: Of the slice; what lies outside of it is left out.
    """
    inside, lines = np.zeros((2, *shape_yx), np.bool_)
    for contour in contours:
        contour = np.clip(contour, -FAR, FAR)
        points = np.where(
            np.abs(contour - np.rint(contour)) < SNAP_VOXELS, np.rint(contour), contour
        )
        within, on_line = np.zeros((2, *shape_yx), np.bool_)
        _toggle(within, points)
        _draw_lines(on_line, points)
        if not within.any() and not on_line.any():
            _set(on_line, np.rint(points))
        inside ^= within
        lines |= on_line
    return inside | lines


def _toggle(within: NDArray[np.bool_], points: Points) -> None:
    """Set what lies within a contour: every crossing of a row turns what is right of it round."""
    rows, at_x = _crossings(points, within.shape[0])
    first = np.clip(np.ceil(at_x), 0, within.shape[1]).astype(int)
    flips = np.zeros((within.shape[0], within.shape[1] + 1), np.uint8)
    np.bitwise_xor.at(flips, (rows, first), 1)
    np.bitwise_xor.accumulate(flips, axis=1, out=flips)
    within |= flips[:, :-1].astype(np.bool_)


def _crossings(points: Points, height: int) -> tuple[NDArray[np.int64], Points]:
    """Return the rows, and x, at which the lines of a contour cross the rows' centres.

    A line has its upper end and not its lower one, so that two that meet cross a row once.
    """
    ends = np.roll(points, -1, axis=0)
    low, high = np.minimum(points[:, 1], ends[:, 1]), np.maximum(points[:, 1], ends[:, 1])
    first = np.clip(np.ceil(low), 0, height).astype(int)
    counts = np.clip(np.ceil(high), 0, height).astype(int) - first
    line = np.repeat(np.arange(len(points)), counts)
    rows = first[line] + np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    (x0, y0), (x1, y1) = points[line].T, ends[line].T
    return rows, x0 + (rows - y0) * (x1 - x0) / (y1 - y0)


def _draw_lines(on_line: NDArray[np.bool_], points: Points) -> None:
    """Set the voxels whose centres lie on a line of a contour."""
    rows, at_x = _crossings(points, on_line.shape[0])
    centres = np.abs(at_x - np.rint(at_x)) < SNAP_VOXELS
    _set(on_line, np.stack([np.rint(at_x[centres]), rows[centres].astype(float)], axis=1))
    _set(on_line, points[(points == np.rint(points)).all(axis=1)])
    ends = np.roll(points, -1, axis=0)
    for (x0, y), (x1, _) in zip(*(p[_flat(points, ends)] for p in (points, ends)), strict=True):
        if 0 <= y < on_line.shape[0]:
            low, high = sorted((x0, x1))
            on_line[int(y), max(int(np.ceil(low)), 0) : max(int(np.floor(high)) + 1, 0)] = True


def _flat(points: Points, ends: Points) -> NDArray[np.bool_]:
    return (points[:, 1] == ends[:, 1]) & (points[:, 1] == np.rint(points[:, 1]))


def _set(voxels: NDArray[np.bool_], points: Points) -> None:
    """Set voxels at whole x, y, those that exist."""
    x, y = points.T.astype(int)
    there = (x >= 0) & (x < voxels.shape[1]) & (y >= 0) & (y < voxels.shape[0])
    voxels[y[there], x[there]] = True
