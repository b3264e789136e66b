"""Resampling where the axes of two grids are not parallel."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from itertools import product

import numpy as np
import SimpleITK as sitk

from manifests.volumes.grid import EDGE_TOLERANCE, Grid
from manifests.volumes.resampling.separable import Interpolation, Values
from manifests.volumes.slabs import slabs
from manifests.volumes.volume import Volume

INTERPOLATORS = {"linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline}

Box = tuple[slice, slice, slice]


def oblique_sample(
    volume: Volume,
    grid: Grid,
    *,
    outside: float = 0.0,
    interpolation: Interpolation = "linear",
) -> Values:
    """Interpolate a volume; voxels beyond its edges are `outside`."""
    sampled = _sample(volume.grid.image(volume.voxels), grid, outside, interpolation)
    return sitk.GetArrayFromImage(sampled)


def _sample(
    image: sitk.Image, grid: Grid, outside: float, interpolation: Interpolation
) -> sitk.Image:
    place = (grid.origin_mm, grid.spacing_mm, grid.direction_lps)
    how = (sitk.Transform(), INTERPOLATORS[interpolation], *place, outside, sitk.sitkFloat32)
    return sitk.Resample(image, grid.size_xyz, *how)


def oblique_share(label: Volume, value: int, box: Box, grid: Grid) -> tuple[Box, Values]:
    """Measure which share of each voxel of `grid` one structure fills, in the box around it.

    The structure's mask is interpolated linearly and averaged over each voxel, on parts no larger
    than a source voxel. The source's outer layer is taken to go on beyond its edges.
    """
    source = label.grid
    low = np.maximum([s.start - 1 for s in box[::-1]], 0)
    high = np.minimum([s.stop + 1 for s in box[::-1]], source.size_xyz)
    corners = grid.index_xyz(
        source.position_mm(list(product(*zip(low - 0.5, high - 0.5, strict=True))))
    )
    start = np.clip(np.floor(corners.min(axis=0) + 0.5), 0, grid.size_xyz).astype(int)
    stop = np.clip(np.ceil(corners.max(axis=0) + 0.5), start, grid.size_xyz).astype(int)
    where: Box = (slice(start[2], stop[2]), slice(start[1], stop[1]), slice(start[0], stop[0]))
    share = np.zeros(stop[::-1] - start[::-1], dtype=np.float32)
    if share.size == 0:
        return where, share
    (x0, y0, z0), (x1, y1, z1) = low.tolist(), high.tolist()
    # source voxels that one step along each axis of `grid` crosses, along each axis of the source
    crossed = np.abs(np.linalg.inv(source.steps_mm) @ grid.steps_mm)
    beyond = np.ceil(crossed.sum(axis=1) / 2).astype(int).tolist()
    mask = (label.voxels[z0:z1, y0:y1, x0:x1] == value).astype(np.uint8)
    near = source.part((x0, y0, z0), (x1, y1, z1), (1, 1, 1)).image(mask)
    padded = sitk.ZeroFluxNeumannPad(near, beyond, beyond)
    factors = [max(1, math.ceil(n - EDGE_TOLERANCE)) for n in crossed.max(axis=0)]
    for at in slabs((len(share), share[0].size * math.prod(factors))):
        first, last = (*start[:2], start[2] + at.start), (*stop[:2], start[2] + at.stop)
        fine = _sample(padded, grid.part(first, last, factors), 0.0, "linear")
        inside = source.covers(grid.part(first, last, (1, 1, 1)))
        share[at] = sitk.GetArrayFromImage(sitk.BinShrink(fine, factors)) * inside
    return where, share
