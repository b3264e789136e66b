"""Augmentation of a patch: drawn from its own seed before it is cut, applied where it then is."""

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
from train.shapes import HuVoxels, ImagePatch, LabelPatch, LabelVoxels

_X = 2


@dataclass(frozen=True)
class PatchChange:
    """What is done to one patch.

    Attributes:
        warp: How it is taken from the volume; none: as a box of voxels.
        mirrored_axes: Of z, y, x those along which it is then mirrored.
        intensity: How its intensities are changed.
    """

    warp: Warp | None
    mirrored_axes: tuple[int, ...]
    intensity: IntensityChange

    def source_box(self, patch: Box, centre_zyx: Triple) -> Box:
        """The box of the volume that a patch is made from."""
        return patch if self.warp is None else self.warp.source_box(patch, centre_zyx)


def draw_change(settings: AugmentationSettings, grid: PatchGrid, seed: int) -> PatchChange:
    """Draw what is done to the patch of that seed."""
    generator = np.random.default_rng(seed)
    warp = draw_warp(settings, grid, generator)
    chances = generator.random(3).tolist()
    mirrored = [axis for axis in range(3) if chances[axis] < settings.mirror_zyx[axis]]
    return PatchChange(warp, tuple(mirrored), draw_intensity(settings, grid, generator))


def change_classes(
    merged: Sequence[int], change: PatchChange, mirrored_classes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What becomes of a case's classes.

    Args:
        merged: The case's.
        change: Of the patch.
        mirrored_classes: The class that each becomes in a mirror along x.

    Returns:
        The representative that each class id in the label volume becomes, and the merged classes
        of the patch.
    """
    if _X not in change.mirrored_axes:
        return tuple(merged), tuple(merged)
    swapped = mirror_merged(merged, mirrored_classes)
    return tuple(swapped[mirrored_classes[n]] for n in merged), swapped


def apply_to_voxels(
    hu: HuVoxels,
    label: LabelVoxels,
    change: PatchChange,
    *,
    normalisation: Normalisation,
    placement: Placement,
) -> tuple[ImagePatch, LabelPatch]:
    """Make a patch from the part of its source box that lies within the volume.

    Beyond the volume, the image is air, the least that a scanner reports, and the label is the
    background: what lies outside the scan holds no labelled organ, and where background stands for
    organs that the annotator left out, it claims nothing of them either.

    Args:
        hu: The part's Hounsfield units.
        label: The part's class ids, as they were written.
        change: What is done to it.
        normalisation: From Hounsfield units to the network's input.
        placement: Where the part comes from.

    Returns:
        The network's input, and class ids as they were written.
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
