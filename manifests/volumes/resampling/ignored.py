"""Voxels of a label that nobody looked at, on another grid."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from itertools import product

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.volumes.grid import EDGE_TOLERANCE, Grid
from manifests.volumes.resampling.separable import Axis, along_axes
from manifests.volumes.volume import Volume


def ignored_voxels(
    label: Volume, value: int, grid: Grid, axes: Sequence[Axis] | None
) -> NDArray[np.bool_]:
    """Return the voxels [z, y, x] of a grid whose centre lies in an ignored voxel of a label.

    A centre on the border between voxels of the label, by `EDGE_TOLERANCE`, lies in both. Where the
    axes are not parallel, that hardly happens, and one of them is taken.

    Args:
        label: Any unsigned integers.
        value: The one that says that nobody looked.
        grid: Voxels beyond the label's edges are not ignored.
        axes: The grid's, through the label; None if they are not parallel.
    """
    if axes is None:
        mask = label.grid.image((label.voxels == value).astype(np.uint8))
        place = (grid.origin_mm, grid.spacing_mm, grid.direction_lps)
        how = (sitk.Transform(), sitk.sitkNearestNeighbor, *place, 0, sitk.sitkUInt8)
        return sitk.GetArrayFromImage(sitk.Resample(mask, grid.size_xyz, *how)) > 0
    source = along_axes(label.voxels, axes) == value
    found = np.zeros(grid.size_xyz[::-1], np.bool_)
    for places in product(*(_nearest(axis) for axis in axes[::-1])):
        found |= source[np.ix_(*places)]
    for number, axis in enumerate(axes[::-1]):
        np.moveaxis(found, number, 0)[~axis.inside] = False
    return found


def _nearest(axis: Axis) -> list[NDArray[np.int64]]:
    """Return the source's voxel that holds each centre; a second one where that is a border."""
    reach = 0.5 + EDGE_TOLERANCE
    low, high = np.ceil(axis.index - reach), np.floor(axis.index + reach)
    both = [np.clip(place, 0, axis.size - 1).astype(np.int64) for place in (low, high)]
    return both[:1] if np.array_equal(both[0], both[1]) else both
