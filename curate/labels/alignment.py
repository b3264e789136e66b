"""A label on its image's grid: the same voxels, stored in another order, or somewhere else."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.findings import Finding, SetAsideError
from manifests.grid import Grid
from manifests.volume import Volume

# At the corner where the two grids differ most. A spacing that was rounded to three digits moves
# the last of 512 voxels by this much; half a voxel is another idea of where a voxel's centre is.
TOLERANCE_VOXELS = 0.3
EXACT_VOXELS = 1e-6

Matrix = NDArray[np.float64]


def on_grid_of(image: Grid, label: Volume, path: Path) -> tuple[NDArray[np.generic], list[Finding]]:
    """The label's voxels [z, y, x] in the image's order.

    Args:
        image: Where the image's voxels lie.
        label: May be stored with other axes, or from other ends.
        path: The label's, for the messages.

    Raises:
        SetAsideError: The two truly differ.
    """
    order, flips = _turn(image, label.grid)
    voxels, grid = _turned(label, order, flips)
    if grid.size_xyz != image.size_xyz:
        reason = f"{path}: the image has size {image.size_xyz}, the label {grid.size_xyz}"
        raise SetAsideError(Finding("grid_mismatch", reason))
    off = _corner_distance(image, grid)
    if off > TOLERANCE_VOXELS:
        reason = (
            f"{path}: image and label lie up to {off:.4g} voxels apart, more than "
            f"{TOLERANCE_VOXELS}: {_told(image)} and {_told(grid)}"
        )
        raise SetAsideError(Finding("grid_mismatch", reason))
    findings: list[Finding] = []
    if order != (0, 1, 2) or any(flips):
        reason = f"axes {order} of the label are the image's, flipped {flips}"
        findings.append(Finding("label_reoriented", reason))
    if off > EXACT_VOXELS:
        findings.append(Finding("grid_rounding", f"a corner lay {off:.2g} voxels off"))
    return voxels, findings


def _turn(image: Grid, label: Grid) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which axis of the label runs along each axis of the image, and whether backwards."""
    along = _axes(image).T @ _axes(label)
    order = tuple(int(n) for n in np.abs(along).argmax(axis=1))
    if sorted(order) != [0, 1, 2]:
        return (0, 1, 2), (False, False, False)
    return order, tuple(bool(along[i, n] < 0) for i, n in enumerate(order))


def _turned(
    label: Volume, order: Sequence[int], flips: Sequence[bool]
) -> tuple[NDArray[np.generic], Grid]:
    """A view of a volume with its axes x, y, z in another order, and its grid."""
    old = label.grid
    xyz = label.voxels.transpose(2, 1, 0).transpose(order)
    xyz = xyz[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    first = np.zeros(3)
    first[list(order)] = [
        old.size_xyz[n] - 1 if f else 0 for n, f in zip(order, flips, strict=True)
    ]
    signs = np.where(flips, -1.0, 1.0)
    x, y, z = (old.size_xyz[n] for n in order)
    a, b, c = (old.spacing_mm[n] for n in order)
    i, j, k = old.position_mm(first).tolist()
    direction = tuple((_axes(old)[:, list(order)] * signs).ravel().tolist())
    return xyz.transpose(2, 1, 0), Grid((x, y, z), (a, b, c), (i, j, k), direction)


def _corner_distance(a: Grid, b: Grid) -> float:
    """How far apart two grids put a corner, at most, in voxels of the finest spacing."""
    corners = list(product(*((0, n - 1) for n in a.size_xyz)))
    apart_mm = np.linalg.norm(a.position_mm(corners) - b.position_mm(corners), axis=1).max()
    return float(apart_mm) / min(*a.spacing_mm, *b.spacing_mm)


def _axes(grid: Grid) -> Matrix:
    return np.asarray(grid.direction_lps).reshape(3, 3)


def _told(grid: Grid) -> str:
    return f"spacing {grid.spacing_mm}, origin {grid.origin_mm}, direction {grid.direction_lps}"
