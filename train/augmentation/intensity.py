"""Intensity augmentation of one normalised image: noise, blur, brightness and so on, as drawn.

Source: nnU-Net's default trainer, in its order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.augmentation.settings import AugmentationSettings, draw, draw_factor
from train.boxes import PatchGrid, Triple, triple
from train.shapes import ImagePatch

_BLUR_RADIUS = 3  # standard deviations
_LEAST_RANGE = 1e-7  # keeps a constant image from 0 / 0
_GOLDEN_RATIO = 0x9E3779B9  # 2**32 over the golden ratio: a seed far from the first one


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: its standard deviation, and the seed of its values."""

    std: float
    seed: int


@dataclass(frozen=True)
class IntensityChange:
    """Changes of one image, in the order in which they are applied; None leaves the image.

    The units are those of `AugmentationSettings`. The contrast stays within the image's range, and
    gamma keeps its mean and deviation.

    Attributes:
        blur: Standard deviation along z, y, x, in voxels.
        low_resolution: Voxels along z, y, x that the image is reduced to, and resampled from.
    """

    noise: Noise | None = None
    blur: tuple[float, float, float] | None = None
    brightness: float | None = None
    contrast: float | None = None
    low_resolution: Triple | None = None
    inverted_gamma: float | None = None
    gamma: float | None = None


def draw_intensity(
    settings: AugmentationSettings, grid: PatchGrid, generator: np.random.Generator
) -> IntensityChange:
    """Draw the changes of one image."""
    std = draw(settings.noise, generator)
    seed = int(generator.integers(2**32))
    return IntensityChange(
        noise=None if std is None else Noise(std, seed),
        blur=_draw_blur(settings, generator),
        brightness=draw_factor(settings.brightness, generator),
        contrast=draw_factor(settings.contrast, generator),
        low_resolution=_draw_low_resolution(settings, grid, generator),
        inverted_gamma=draw_factor(settings.inverted_gamma, generator),
        gamma=draw_factor(settings.gamma, generator),
    )


def apply_intensity(image: ImagePatch, change: IntensityChange) -> ImagePatch:
    """Return a changed copy of a normalised image, on the same device."""
    for name, step in _STEPS.items():
        value = getattr(change, name)
        if value is not None:
            image = step(image, value)
    return image


def gaussian_field(size_zyx: Sequence[int], seed: int, device: torch.device) -> ImagePatch:
    """Return standard normal noise, the same on every device.

    A GPU's own generator would give other numbers, and copying numbers from the CPU would cost more
    than the rest of the augmentation.

    Source: Box and Muller 1958, on a hash of seed and voxel (Ellis's integer hash prospector).
    """
    voxels = math.prod(size_zyx)
    pairs = torch.arange((voxels + 1) // 2, device=device)
    first = _hash(_hash(pairs) ^ seed)
    second = _hash(first ^ _GOLDEN_RATIO)
    radius = torch.sqrt(-2 * torch.log((first.float() + 1) / 2**32))
    angle = second.float() * (2 * math.pi / 2**32)
    both = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)])
    return both.reshape(-1)[:voxels].reshape(size_zyx)


def _hash(numbers: Tensor) -> Tensor:
    """Scramble integers of 32 bits, stored in 64 so that no product overflows."""
    mixed = numbers ^ (numbers >> 16)
    mixed = (mixed * 0x21F0AAAD) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 15)
    mixed = (mixed * 0x735A2D97) & 0xFFFFFFFF
    return mixed ^ (mixed >> 15)


def _add_noise(image: ImagePatch, noise: Noise) -> ImagePatch:
    return image + gaussian_field(image.shape, noise.seed, image.device) * noise.std


def _blur(image: ImagePatch, std: tuple[float, float, float]) -> ImagePatch:
    # a sum of shifted images: by default, convolutions on a GPU round to ten bits (TF32)
    for axis, std_voxels in enumerate(std):
        radius = math.ceil(_BLUR_RADIUS * std_voxels)
        weights = [math.exp(-0.5 * (n / std_voxels) ** 2) for n in range(-radius, radius + 1)]
        size = image.shape[axis]
        borders = (image.narrow(axis, place, 1) for place in (0, size - 1))
        before, after = (border.repeat_interleave(radius, axis) for border in borders)
        padded = torch.cat([before, image, after], axis)
        image = torch.zeros_like(image)
        for shift, weight in enumerate(weights):
            image.add_(padded.narrow(axis, shift, size), alpha=weight / sum(weights))
    return image


def _change_contrast(image: ImagePatch, factor: float) -> ImagePatch:
    least, most = torch.aminmax(image)
    mean = image.mean()
    return ((image - mean) * factor + mean).clamp(least, most)


def _lower_resolution(image: ImagePatch, size_zyx: Triple) -> ImagePatch:
    reduced = functional.interpolate(image[None, None], size_zyx, mode="nearest-exact")
    return functional.interpolate(reduced, list(image.shape), mode="trilinear")[0, 0]


def _apply_gamma(image: ImagePatch, exponent: float) -> ImagePatch:
    least, most = torch.aminmax(image)
    extent = most - least
    changed = ((image - least) / extent.clamp(min=_LEAST_RANGE)) ** exponent * extent + least
    rescaled = (changed - changed.mean()) / changed.std().clamp(min=_LEAST_RANGE)
    return rescaled * image.std() + image.mean()


_STEPS: MappingProxyType[str, Callable[[ImagePatch, Any], ImagePatch]] = MappingProxyType(
    {
        "noise": _add_noise,
        "blur": _blur,
        "brightness": lambda image, factor: image * factor,
        "contrast": _change_contrast,
        "low_resolution": _lower_resolution,
        "inverted_gamma": lambda image, exponent: -_apply_gamma(-image, exponent),
        "gamma": _apply_gamma,
    }
)


def _draw_blur(
    settings: AugmentationSettings, generator: np.random.Generator
) -> tuple[float, float, float] | None:
    _, least, most = settings.blur
    std = triple(generator.uniform(least, most, 3).tolist())
    return None if draw(settings.blur, generator) is None else std


def _draw_low_resolution(
    settings: AugmentationSettings, grid: PatchGrid, generator: np.random.Generator
) -> Triple | None:
    """Draw the size to reduce to; a patch of few slices keeps them all."""
    scale = draw(settings.low_resolution, generator)
    if scale is None:
        return None
    z, y, x = (max(1, round(n * scale)) for n in grid.size_zyx)
    return (grid.size_zyx[0] if grid.is_flat else z), y, x
