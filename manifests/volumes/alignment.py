"""Where a label lies on its image's grid: on all of it, or, where it was cropped, on a part."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid, corner_distance
from manifests.volumes.orientation import AxisPermutation, closest_permutation, reorient
from manifests.volumes.readers.slicer import is_slicer
from manifests.volumes.volume import Volume

# At the corner where the two grids differ most. A spacing that was rounded to three digits moves
# the last of 512 voxels by this much; half a voxel is another idea of where a voxel's centre is.
TOLERANCE_VOXELS = 0.3
# Of a cropped label, whose place is looked for: some voxel of the image's is always near.
CROP_TOLERANCE_VOXELS = 0.1
EXACT_VOXELS = 1e-6

Start = tuple[int, int, int]


def align(label: Volume, image: Grid, path: Path) -> tuple[NDArray[Any], list[Finding]]:
    """Return a label's voxels on an image's grid, and what was noticed.

    The label's axes are brought into the order of the image's. A label of another size is put back
    by whole voxels where it lies on the image's grid, with 0 around it. One that starts with the
    image's first voxel is refused: it may have been cropped, or have lost its place, as most files
    do that have none start there. 3D Slicer's are believed.

    Raises:
        SetAsideError: The label lies on another grid, or something is drawn outside of the image.
    """
    permutation = closest_permutation(image.direction_lps, label.grid)
    aligned = reorient(label, permutation)
    if is_empty_segmentation(aligned, path):
        return np.zeros(image.size_xyz[::-1], np.uint8), []
    whole = aligned.grid.size_xyz == image.size_xyz
    start = (0, 0, 0) if whole else _start(aligned.grid, image, path)
    off = _distance(aligned.grid, image, start)
    if off > (TOLERANCE_VOXELS if whole else CROP_TOLERANCE_VOXELS):
        raise SetAsideError(Finding("grid_mismatch", _apart(aligned.grid, image, path, off)))
    findings: list[Finding] = []
    if permutation != AxisPermutation():
        order, flips = permutation.order, permutation.flips
        reason = f"axes {order} of the label are the image's, flipped {flips}"
        findings.append(Finding("label_reoriented", reason))
    if off > EXACT_VOXELS:
        findings.append(Finding("grid_rounding", f"a corner lay {off:.2g} voxels off"))
    if whole:
        return aligned.voxels, findings
    reason = f"{path.name}: {_size(aligned.grid)} voxels, put back at voxel {start} of the image"
    return _put_back(aligned, image, path, start), [*findings, Finding("label_cropped", reason)]


def is_empty_segmentation(label: Volume, path: Path) -> bool:
    """Return whether 3D Slicer saved a segmentation without a drawn voxel: one of 0, anywhere."""
    return is_slicer(path) and label.voxels.size == 1 and not label.voxels.any()


def _start(label: Grid, image: Grid, path: Path) -> Start:
    """Return the image's voxel that is nearest to the label's first."""
    x, y, z = (int(n) for n in np.rint(image.index_xyz(label.origin_mm)))
    if (x, y, z) == (0, 0, 0) and not is_slicer(path):
        reason = (
            f"{path}: the image has size {image.size_xyz}, the label {label.size_xyz}, and both "
            f"start at the same place: whether it was cropped or its place was lost is not known"
        )
        raise SetAsideError(Finding("grid_mismatch", reason))
    return x, y, z


def _distance(label: Grid, image: Grid, start: Start) -> float:
    """Return how far a label lies, at most, from the part of an image that starts there."""
    part = image.part(start, np.add(start, label.size_xyz).tolist(), (1, 1, 1))
    return corner_distance(part.affine_lps, label.affine_lps, label.size_xyz)


def _put_back(label: Volume, image: Grid, path: Path, start: Start) -> NDArray[Any]:
    stop = np.add(start, label.grid.size_xyz)
    first, last = np.maximum(start, 0), np.minimum(stop, image.size_xyz)
    voxels = np.zeros(image.size_xyz[::-1], label.voxels.dtype)
    inside = label.voxels[_slices(first - start, np.maximum(last - start, 0))]
    outside = np.count_nonzero(label.voxels) - np.count_nonzero(inside)
    if outside:
        reason = f"{path}: {outside:,} labelled voxels lie outside of the image; crop neither"
        raise SetAsideError(Finding("grid_mismatch", reason))
    if inside.size:
        voxels[_slices(first, last)] = inside
    return voxels


def _slices(start: NDArray[Any], stop: NDArray[Any]) -> tuple[slice, ...]:
    """Return the part of an array [z, y, x] between two corners x, y, z."""
    return tuple(slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))


def _apart(label: Grid, image: Grid, path: Path, off: float) -> str:
    if label.size_xyz != image.size_xyz:
        return (
            f"{path}: the image has size {image.size_xyz}, the label {label.size_xyz}, which is "
            f"no part of it in whole voxels: {_geometry(image)} and {_geometry(label)}"
        )
    return (
        f"{path}: image and label are up to {off:.4g} voxels apart, more than "
        f"{TOLERANCE_VOXELS}: {_geometry(image)} and {_geometry(label)}"
    )


def _geometry(grid: Grid) -> str:
    return f"spacing {grid.spacing_mm}, origin {grid.origin_mm}, direction {grid.direction_lps}"


def _size(grid: Grid) -> str:
    return " x ".join(map(str, grid.size_xyz))
