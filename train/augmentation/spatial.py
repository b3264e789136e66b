"""Spatial augmentation: rotation, scaling and elastic deformation as one resampling.

It is drawn first, as a map from a patch's voxels to those of the volume. Then the box that the map
needs is cut, so that padding is needed beyond the volume only.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from train.augmentation.settings import CONTROL_SPACING_MM, AugmentationSettings, draw
from train.boxes import Box, PatchGrid, Placement, SpacingZYX, Triple, triple
from train.device import on_device
from train.shapes import IdPatch, IdVoxels, ImagePatch, ImageVoxels

_SPLINE_DEGREE = 3


@dataclass(frozen=True)
class Warp:
    """A map from a patch to the volume.

    Position p of the patch is sampled from `matrix @ p + shift(p) - shift(0)` of the volume. Both
    are relative to the voxel that the patch was to be centred on.

    Attributes:
        matrix: Voxels to voxels, both in the order z, y, x [3, 3].
        controls: Control points of the cubic B-spline `shift`, in voxels along z, y, x
            [3, z, y, x]; None without elastic deformation.
        spacing_zyx: In mm; the control points are `CONTROL_SPACING_MM` apart.
    """

    matrix: np.ndarray
    controls: np.ndarray | None
    spacing_zyx: SpacingZYX

    def source_box(self, patch: Box, centre_zyx: Triple) -> Box:
        """Return the box of the volume that holds all that a patch is made from."""
        first = np.array(patch.start_zyx) - centre_zyx
        last = first + patch.size_zyx - 1
        ends = np.stack([self.matrix * first, self.matrix * last])
        # a B-spline never goes beyond its control points
        shift = 0 if self.controls is None else 2 * np.abs(self.controls).max(axis=(1, 2, 3))
        # one voxel more on either side, for rounding
        start = np.floor(centre_zyx + ends.min(0).sum(1) - shift).astype(int) - 1
        stop = np.ceil(centre_zyx + ends.max(0).sum(1) + shift).astype(int) + 2
        return Box(triple(start.tolist()), triple((stop - start).tolist()))


def draw_warp(
    settings: AugmentationSettings, grid: PatchGrid, generator: np.random.Generator
) -> Warp | None:
    """Draw the map of one patch, or None if it stays as it is.

    Angles are those in mm, whatever the spacing. A patch of few slices is rotated, scaled and
    deformed within its slices only.

    Source: nnU-Net, whose angles are those of the voxels.
    """
    rotation = _draw_rotation(settings, grid, generator)
    scale = draw(settings.scaling, generator)
    controls_mm = _draw_controls(settings, grid, generator)
    if rotation is None and scale is None and controls_mm is None:
        return None
    zoom = np.full(3, scale or 1.0)
    if grid.is_flat:
        zoom[0] = 1.0
    spacing = np.array(grid.spacing_zyx)
    matrix_mm = (np.eye(3) if rotation is None else rotation) * zoom
    return Warp(
        matrix=matrix_mm * spacing / spacing[:, None],
        controls=None if controls_mm is None else controls_mm / spacing[:, None, None, None],
        spacing_zyx=grid.spacing_zyx,
    )


def resample(
    image: ImageVoxels, label: IdVoxels, warp: Warp, *, placement: Placement, outside: float
) -> tuple[ImagePatch, IdPatch]:
    """Return a patch's intensities by linear, and its class ids by nearest-neighbour interpolation.

    `image` and `label` are of the part of the source box that lies within the volume. Beyond it,
    intensities are `outside` and class ids 0.
    """
    grid = _grid(warp, placement, image.device)
    # PyTorch pads with 0
    resampled = _sample(image - outside, grid, "bilinear") + outside
    return resampled, _sample(label.float(), grid, "nearest").to(label.dtype)


def _sample(voxels: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(
        voxels[None, None], grid, mode=mode, padding_mode="zeros", align_corners=False
    )[0, 0]


def _draw_rotation(
    settings: AugmentationSettings, grid: PatchGrid, generator: np.random.Generator
) -> np.ndarray | None:
    """Draw a rotation matrix in the order z, y, x, or None."""
    probability, least, most = settings.rotation
    degrees = generator.uniform(least, most, 3)  # about z, y, x
    if generator.random() >= probability:
        return None
    if grid.is_flat:
        degrees[1:] = 0.0
    # scipy's vectors are x, y, z
    return Rotation.from_euler("ZYX", degrees, degrees=True).as_matrix()[::-1, ::-1]


def _draw_controls(
    settings: AugmentationSettings, grid: PatchGrid, generator: np.random.Generator
) -> np.ndarray | None:
    """Draw displacements of the control points in mm along z, y, x, or None."""
    most_mm = draw(settings.elastic, generator)
    # its own generator, so that later draws are the same with and without it
    own = np.random.default_rng(generator.integers(2**63))
    if most_mm is None:
        return None
    points = [
        _cells(n, mm) + _SPLINE_DEGREE
        for n, mm in zip(grid.size_zyx, grid.spacing_zyx, strict=True)
    ]
    controls_mm = own.uniform(-most_mm, most_mm, (3, *points))
    if grid.is_flat:
        controls_mm[0] = 0.0
    return controls_mm


def _cells(voxels: int, spacing_mm: float) -> int:
    return max(1, math.ceil((voxels - 1) * spacing_mm / CONTROL_SPACING_MM))


def _grid(warp: Warp, placement: Placement, device: torch.device) -> Tensor:
    """Return where to sample, for `grid_sample` [1, z, y, x, 3]: -1 to 1 from edge to edge."""
    patch, inside = placement.patch, placement.inside
    size, there = np.array(patch.size_zyx), np.array(inside.size_zyx)
    z, y, x = pivot = np.array(placement.centre_zyx) - patch.start_zyx
    middle = warp.matrix @ ((size - 1) / 2 - pivot) + placement.centre_zyx - inside.start_zyx
    # both from edge to edge: half a size to get to voxels, two over a size to get from them
    linear = warp.matrix * size / there[:, None]
    theta = np.concatenate([linear, ((2 * middle + 1) / there - 1)[:, None]], axis=1)
    # PyTorch's vectors are x, y, z
    theta[:, :3] = theta[::-1, 2::-1]
    theta[:, 3] = theta[::-1, 3]
    affine = on_device(torch.from_numpy(theta.astype(np.float32)), device)
    grid = functional.affine_grid(affine[None], [1, 1, *patch.size_zyx], align_corners=False)
    if warp.controls is not None:
        shift = _shift(warp, patch.size_zyx, device)  # 3 z y x
        shift = shift - shift[:, z, y, x][:, None, None, None]
        scale = on_device(torch.from_numpy((2 / there).astype(np.float32)), device)
        grid = grid + (shift.permute(1, 2, 3, 0) * scale).flip(-1)
    return grid


def _shift(warp: Warp, size_zyx: Triple, device: torch.device) -> Tensor:
    """Return the displacement of each voxel of a patch, in voxels along z, y, x [3, z, y, x]."""
    shift = on_device(torch.from_numpy(warp.controls).float(), device)
    equations = ("czyx,nz->cnyx", "czyx,ny->cznx", "czyx,nx->czyn")
    for equation, n, mm in zip(equations, size_zyx, warp.spacing_zyx, strict=True):
        weights = on_device(torch.from_numpy(_spline_weights(n, mm)).float(), device)
        shift = torch.einsum(equation, shift, weights)
    return shift


def _spline_weights(voxels: int, spacing_mm: float) -> np.ndarray:
    """Return each control point's weight at each voxel of an axis [voxels, points].

    Source: the uniform cubic B-spline.
    """
    cells = _cells(voxels, spacing_mm)
    where = np.arange(voxels) * spacing_mm / CONTROL_SPACING_MM
    first = np.minimum(where.astype(int), cells - 1)
    t = where - first
    weights = np.zeros((voxels, cells + _SPLINE_DEGREE))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, values in enumerate(basis):
        weights[np.arange(voxels), first + offset] = values / 6
    return weights
