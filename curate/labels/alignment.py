"""A label on its image's grid: the same voxels, stored in another order, or somewhere else."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid, corner_distance
from manifests.volumes.orientation import AxisPermutation, closest_permutation, reorient
from manifests.volumes.volume import Volume

# At the corner where the two grids differ most. A spacing that was rounded to three digits moves
# the last of 512 voxels by this much; half a voxel is another idea of where a voxel's centre is.
TOLERANCE_VOXELS = 0.3
EXACT_VOXELS = 1e-6


def align_to(image: Grid, label: Volume, path: Path) -> tuple[NDArray[np.generic], list[Finding]]:
    """The label's voxels [z, y, x] in the image's order.

    Args:
        image: Where the image's voxels lie.
        label: May be stored with other axes, or from other ends.
        path: The label's, for the messages.

    Raises:
        SetAsideError: The two truly differ.
    """
    permutation = closest_permutation(image.direction_lps, label.grid)
    aligned = reorient(label, permutation)
    grid = aligned.grid
    if grid.size_xyz != image.size_xyz:
        reason = f"{path}: the image has size {image.size_xyz}, the label {grid.size_xyz}"
        raise SetAsideError(Finding("grid_mismatch", reason))
    off = corner_distance(image.affine_lps, grid.affine_lps, grid.size_xyz)
    if off > TOLERANCE_VOXELS:
        reason = (
            f"{path}: image and label are up to {off:.4g} voxels apart, more than "
            f"{TOLERANCE_VOXELS}: {_told(image)} and {_told(grid)}"
        )
        raise SetAsideError(Finding("grid_mismatch", reason))
    findings: list[Finding] = []
    if permutation != AxisPermutation():
        order, flips = permutation.order, permutation.flips
        reason = f"axes {order} of the label are the image's, flipped {flips}"
        findings.append(Finding("label_reoriented", reason))
    if off > EXACT_VOXELS:
        findings.append(Finding("grid_rounding", f"a corner lay {off:.2g} voxels off"))
    return aligned.voxels, findings


def _told(grid: Grid) -> str:
    return f"spacing {grid.spacing_mm}, origin {grid.origin_mm}, direction {grid.direction_lps}"
