"""Intensity augmentation: each change against its definition."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from train.augmentation.intensity import (
    IntensityChange,
    Noise,
    apply_intensity,
    draw_intensity,
    gaussian_field,
)
from train.augmentation.settings import AUGMENTATIONS
from train.boxes import PatchGrid

CPU = torch.device("cpu")
GRID = PatchGrid((16, 20, 24), (3.0, 1.5, 1.5))
EVERYTHING = IntensityChange(
    noise=Noise(0.1, 3),
    blur=(0.5, 0.8, 1.0),
    brightness=1.2,
    contrast=0.8,
    low_resolution=(8, 10, 12),
    inverted_gamma=0.8,
    gamma=1.3,
)


@pytest.fixture(scope="module")
def image():
    return torch.randn(16, 20, 24, generator=torch.Generator().manual_seed(0)) + 0.3


def change(image, **what):
    return apply_intensity(image, IntensityChange(**what))


def test_nothing_drawn_changes_nothing(image):
    assert torch.equal(change(image), image)


def test_the_image_that_came_in_is_left_as_it_was(image):
    kept = image.clone()
    apply_intensity(image, EVERYTHING)
    assert torch.equal(image, kept)


def test_brightness_is_a_factor(image):
    torch.testing.assert_close(change(image, brightness=1.25), image * 1.25)


def test_contrast_stretches_around_the_mean_within_the_range(image):
    stretched = change(image, contrast=1.5)
    expected = ((image - image.mean()) * 1.5 + image.mean()).clamp(image.min(), image.max())
    torch.testing.assert_close(stretched, expected)
    assert (stretched.min(), stretched.max()) == (image.min(), image.max())
    shrunk = change(image, contrast=0.5)
    torch.testing.assert_close(shrunk.std(), image.std() * 0.5)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_noise_is_gaussian_and_has_the_drawn_deviation(seed):
    field = gaussian_field((30, 31, 33), seed, CPU)  # an odd number of voxels
    assert stats.kstest(field.flatten().numpy(), "norm").pvalue > 1e-3
    noisy = change(torch.zeros(30, 31, 33), noise=Noise(0.3, seed))
    assert noisy.std().item() == pytest.approx(0.3, abs=0.01)


def test_noise_is_white_and_another_for_another_seed():
    field = gaussian_field((32, 32, 32), 7, CPU)
    assert torch.isfinite(field).all()
    others = [field.roll(shift, axis) for axis in range(3) for shift in (1, 2)]
    others += [gaussian_field((32, 32, 32), seed, CPU) for seed in (0, 6, 8, 7 + 2**16)]
    others += [field.flip(0), field.reshape(2, -1).flip(0).reshape(32, 32, 32)]
    for other in others:
        correlation = torch.corrcoef(torch.stack([field.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation.item()) < 5 / math.sqrt(field.numel())


def test_blur_is_scipys_gaussian_filter(image):
    blurred = change(image, blur=(0.5, 0.8, 1.0))
    # radius of three deviations on either side, rounded up
    expected = image.double().numpy()
    for axis, (std, radius) in enumerate(((0.5, 2), (0.8, 3), (1.0, 3))):
        expected = ndimage.gaussian_filter1d(expected, std, axis, mode="nearest", radius=radius)
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-5)


def test_low_resolution_keeps_a_slope_and_loses_detail(image):
    slope = torch.linspace(0, 1, 24).expand(16, 20, 24)
    reduced = change(slope, low_resolution=(16, 10, 12))
    torch.testing.assert_close(reduced[..., 2:-2], slope[..., 2:-2], atol=0.05, rtol=0)
    assert change(image, low_resolution=(8, 10, 12)).std() < image.std()
    assert torch.equal(change(image, low_resolution=(16, 20, 24)), image)


@pytest.mark.parametrize("name", ["gamma", "inverted_gamma"])
@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_keeps_order_mean_and_deviation(image, name, exponent):
    bent = change(image, **{name: exponent})
    torch.testing.assert_close(bent.mean(), image.mean(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bent.std(), image.std(), atol=1e-5, rtol=1e-4)
    assert bent.flatten()[image.flatten().argsort()].diff().min() > -1e-6


def test_gamma_above_1_spreads_the_bright_and_its_inverse_the_dark():
    ramp = torch.linspace(0, 1, 1000).view(10, 10, 10)
    bent, inverted = (change(ramp, **{n: 2.0}).flatten() for n in ("gamma", "inverted_gamma"))
    assert bent[999] - bent[900] > 3 * (bent[100] - bent[1])
    assert inverted[100] - inverted[1] > 3 * (inverted[999] - inverted[900])
    # by the definition
    expected = (ramp**2 - (ramp**2).mean()) / (ramp**2).std() * ramp.std() + ramp.mean()
    torch.testing.assert_close(bent, expected.flatten())


@pytest.mark.parametrize("name", ["gamma", "inverted_gamma", "contrast"])
def test_an_image_of_one_value_stays_finite(name):
    flat = torch.full((4, 5, 6), 0.25)
    torch.testing.assert_close(change(flat, **{name: 1.3}), flat)


def test_as_often_and_as_much_is_drawn_as_the_settings_say():
    nnunet = AUGMENTATIONS["nnunet"]
    drawn = [draw_intensity(nnunet, GRID, np.random.default_rng(seed)) for seed in range(3000)]
    for name in IntensityChange.__dataclass_fields__:
        share = sum(getattr(d, name) is not None for d in drawn) / len(drawn)
        assert share == pytest.approx(getattr(nnunet, name)[0], abs=0.03)
    factors = np.array([d.gamma for d in drawn if d.gamma is not None])
    assert 0.7 <= factors.min() < 0.72
    assert 1.47 < factors.max() <= 1.5
    assert (factors < 1).mean() == pytest.approx(0.5, abs=0.07)
    stds = [d.noise.std for d in drawn if d.noise]
    assert 0 <= min(stds) < max(stds) <= 0.1
    sizes = {d.low_resolution for d in drawn if d.low_resolution}
    assert min(sizes) == (8, 10, 12)
    blurs = np.array([d.blur for d in drawn if d.blur])
    assert 0.5 <= blurs.min() < blurs.max() <= 1.0
    assert not np.allclose(blurs[:, 0], blurs[:, 1])


def test_low_resolution_leaves_few_slices_as_they_are():
    often = AUGMENTATIONS["none"].model_copy(update={"low_resolution": (1.0, 0.5, 0.5)})
    grid = PatchGrid((12, 48, 48), (3.0, 1.5, 1.5))
    drawn = draw_intensity(often, grid, np.random.default_rng(0))
    assert drawn.low_resolution == (12, 24, 24)


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_same(image):
    on_gpu = apply_intensity(image.cuda(), EVERYTHING)
    torch.testing.assert_close(on_gpu.cpu(), apply_intensity(image, EVERYTHING), atol=1e-4, rtol=0)
