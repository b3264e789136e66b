"""Augmentation of a patch: drawn from its seed before it is cut, applied on its device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from manifests.volumes.grid import AIR_HU
from train.augmentation.intensity import IntensityChange, apply_intensity, draw_intensity
from train.augmentation.settings import AugmentationSettings
from train.augmentation.spatial import Warp, draw_warp, resample
from train.boxes import Box, PatchGrid, Placement, Triple
from train.laterality import mirror_merged
from train.model import Normalisation
from train.shapes import HuVoxels, IdPatch, IdVoxels, ImagePatch

_X = 2


@dataclass(frozen=True)
class PatchChange:
    """What is done to one patch, in this order.

    Attributes:
        warp: Where it is sampled from the volume; None: from a box of voxels.
        mirrored_axes: 0 is z, 2 is x.
    """

    warp: Warp | None
    mirrored_axes: tuple[int, ...]
    intensity: IntensityChange

    def source_box(self, patch: Box, centre_zyx: Triple) -> Box:
        """Return the box of the volume that a patch is made from."""
        return patch if self.warp is None else self.warp.source_box(patch, centre_zyx)


def draw_change(settings: AugmentationSettings, grid: PatchGrid, seed: int) -> PatchChange:
    """Draw the change of the patch that has this seed."""
    generator = np.random.default_rng(seed)
    warp = draw_warp(settings, grid, generator)
    chances = generator.random(3).tolist()
    mirrored = [axis for axis in range(3) if chances[axis] < settings.mirror_zyx[axis]]
    return PatchChange(warp, tuple(mirrored), draw_intensity(settings, grid, generator))


def change_classes(
    merged: Sequence[int], change: PatchChange, mirrored_classes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return each class id's representative in the patch, and the patch's merged classes.

    `merged` is the case's; in a mirror along x, each class becomes that in `mirrored_classes`.
    """
    if _X not in change.mirrored_axes:
        return tuple(merged), tuple(merged)
    swapped = mirror_merged(merged, mirrored_classes)
    return tuple(swapped[mirrored_classes[n]] for n in merged), swapped


def apply_to_voxels(
    hu: HuVoxels,
    label: IdVoxels,
    change: PatchChange,
    *,
    normalisation: Normalisation,
    placement: Placement,
) -> tuple[ImagePatch, IdPatch]:
    """Return a patch's network input, and its class ids before `merged` is applied.

    Beyond the volume, the image is air, the lowest value that a scanner reports, and the label is
    the background. That is true of labelled organs, and where the background may be an organ that
    was not annotated, it says nothing about that organ.

    `hu` and `label` are of the part of the source box that lies within the volume.
    """
    air = normalisation.apply(torch.tensor(AIR_HU)).item()
    image = normalisation.apply(hu)
    if change.warp is not None:
        image, label = resample(image, label, change.warp, placement=placement, outside=air)
    elif placement.inside != placement.patch:
        image, label = _pad(image, placement, air), _pad(label, placement, 0.0)
    if change.mirrored_axes:
        image, label = (voxels.flip(change.mirrored_axes) for voxels in (image, label))
    return apply_intensity(image, change.intensity), label


def _pad(voxels: Tensor, placement: Placement, value: float) -> Tensor:
    there = placement.inside.seen_from(placement.patch)
    padded = voxels.new_full(placement.patch.size_zyx, value)
    padded[there.slices] = voxels
    return padded
