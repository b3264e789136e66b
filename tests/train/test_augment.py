"""Augmentation: what is drawn is what is applied."""

import torch

from train.augment import IntensityChange, apply_change, draw_change


def images(batch=2):
    return torch.randn(batch, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def test_strength_zero_changes_nothing():
    change = draw_change(2, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(apply_change(images(), change), images())


def test_brightness_moves_and_contrast_stretches_each_image_by_its_own():
    change = IntensityChange(
        brightness=torch.tensor([0.5, -1.0]),
        contrast=torch.tensor([2.0, 1.0]),
        noise=torch.zeros(2),
        seed=0,
    )
    before, after = images(), apply_change(images(), change)
    torch.testing.assert_close(
        after.mean((1, 2, 3, 4)) - before.mean((1, 2, 3, 4)), change.brightness
    )
    ratio = after.std((1, 2, 3, 4)) / before.std((1, 2, 3, 4))
    torch.testing.assert_close(ratio, change.contrast)


def test_noise_has_the_drawn_deviation():
    change = IntensityChange(
        brightness=torch.zeros(1), contrast=torch.ones(1), noise=torch.tensor([0.3]), seed=1
    )
    flat = torch.zeros(1, 1, 20, 20, 20)
    assert abs(apply_change(flat, change).std().item() - 0.3) < 0.01


def test_the_same_generator_draws_the_same_change():
    one, other, third = (
        apply_change(images(), draw_change(2, 1.0, torch.Generator().manual_seed(seed)))
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_the_images_that_came_in_are_left_as_they_were():
    kept = images()
    apply_change(kept, draw_change(2, 1.0, torch.Generator().manual_seed(0)))
    assert torch.equal(kept, images())
