"""Augmentation: what is drawn for a patch, and mirror images with their classes."""

import numpy as np
import pytest
import torch

from manifests.classes.label_space import load_label_space
from train.augmentation.intensity import IntensityChange
from train.augmentation.patch_change import (
    PatchChange,
    apply_to_voxels,
    change_classes,
    draw_change,
)
from train.augmentation.settings import AUGMENTATIONS, AugmentationSettings
from train.boxes import Box, PatchGrid, Placement
from train.laterality import mirrored_classes
from train.model import Normalisation

SPACE = load_label_space("abdomen5")  # 4 is the left kidney, 5 the right one
MIRRORED = mirrored_classes(SPACE)
GRID = PatchGrid((16, 20, 24), (3.0, 1.5, 1.5))
SCALE = Normalisation(-200.0, 300.0, 50.0, 100.0)
UNCHANGED = PatchChange(None, (), IntensityChange())


def mirror(*axes):
    return PatchChange(None, axes, IntensityChange())


def apply(hu, label, change, placement=None):
    box = Box((0, 0, 0), hu.shape)
    placement = placement or Placement(box, (1, 1, 1), box)
    hu, label = torch.from_numpy(hu), torch.from_numpy(label)
    image, ids = apply_to_voxels(hu, label, change, normalisation=SCALE, placement=placement)
    return image.numpy(), ids.numpy()


@pytest.fixture
def voxels():
    generator = np.random.default_rng(0)
    hu = generator.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    return hu, generator.integers(0, 6, (4, 5, 6)).astype(np.uint8)


def test_without_changes_a_patch_is_its_normalised_voxels(voxels):
    hu, label = voxels
    image, ids = apply(hu, label, UNCHANGED)
    np.testing.assert_allclose(image, (np.clip(hu, -200, 300) - 50) / 100, rtol=1e-6)
    np.testing.assert_array_equal(ids, label)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_a_mirror_image_turns_image_and_label_around(voxels, axes):
    hu, label = voxels
    image, ids = apply(hu, label, mirror(*axes))
    expected, _ = apply(hu, label, UNCHANGED)
    np.testing.assert_array_equal(image, np.flip(expected, axes))
    np.testing.assert_array_equal(ids, np.flip(label, axes))


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)])
def test_only_a_mirror_along_x_makes_left_of_right(axes):
    merged = (0, 1, 2, 0, 4, 0)
    assert change_classes(merged, mirror(*axes), MIRRORED) == (merged, merged)


@pytest.mark.parametrize("axes", [(2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize(
    ("merged", "swapped", "becomes"),
    [
        ((0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 5, 4)),
        # only the left kidney is annotated: in the mirror, only the right one
        ((0, 0, 0, 0, 4, 0), (0, 0, 0, 0, 0, 5), (0, 0, 0, 0, 5, 0)),
        # both as one
        ((0, 0, 0, 0, 4, 4), (0, 0, 0, 0, 4, 4), (0, 0, 0, 0, 4, 4)),
        # pancreas and left kidney as one become pancreas and right kidney
        ((0, 1, 2, 3, 3, 5), (0, 1, 2, 3, 4, 3), (0, 1, 2, 3, 3, 4)),
    ],
)
def test_a_mirror_along_x_swaps_labels_and_merged_classes(axes, merged, swapped, becomes):
    assert change_classes(merged, mirror(*axes), MIRRORED) == (becomes, swapped)


def test_what_is_drawn_follows_from_the_seed():
    nnunet = AUGMENTATIONS["nnunet"].model_copy(update={"rotation": (1.0, -30.0, 30.0)})
    one, other, third = (draw_change(nnunet, GRID, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.warp.matrix, other.warp.matrix)
    assert (one.mirrored_axes, one.intensity) == (other.mirrored_axes, other.intensity)
    assert not np.allclose(one.warp.matrix, third.warp.matrix)


def test_one_change_does_not_decide_the_next():
    # with or without the others, a patch's mirror axes and gamma are the same
    alone = AUGMENTATIONS["none"].model_copy(
        update={"mirror_zyx": (0.5, 0.5, 0.5), "gamma": (1.0, 0.7, 1.5)}
    )
    often = (1.0, 0.7, 1.0)
    names = AugmentationSettings.model_fields.keys() - {"mirror_zyx", "gamma"}
    others = alone.model_copy(update=dict.fromkeys(names, often))
    for seed in range(20):
        one, other = (draw_change(s, GRID, seed) for s in (alone, others))
        assert one.mirrored_axes == other.mirrored_axes
        assert one.intensity.gamma == other.intensity.gamma


def test_mirrors_are_drawn_as_often_as_asked_for():
    asked = AUGMENTATIONS["none"].model_copy(update={"mirror_zyx": (0.0, 0.25, 0.5)})
    drawn = [draw_change(asked, GRID, seed).mirrored_axes for seed in range(2000)]
    shares = [sum(axis in axes for axes in drawn) / 2000 for axis in range(3)]
    assert shares == pytest.approx([0.0, 0.25, 0.5], abs=0.05)


def test_none_draws_nothing():
    for seed in range(10):
        assert draw_change(AUGMENTATIONS["none"], GRID, seed) == UNCHANGED
