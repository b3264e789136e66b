"""Augmentation: small changes of intensity, drawn first and then applied.

Nothing geometric: a mirror image would have to swap left and right organs too.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from train.shapes import Images

_BRIGHTNESS = 0.1  # standard deviations of the foreground's intensity
_CONTRAST = 0.25  # as in nnU-Net
_NOISE = 0.1  # standard deviations of the foreground's intensity


@dataclass(frozen=True)
class IntensityChange:
    """What is done to each image of a batch.

    Attributes:
        brightness: Added [B], in the network's unit of intensity.
        contrast: Factor [B] on the distance from the image's mean.
        noise: Standard deviation [B] of Gaussian noise, in the same unit.
        seed: Of the noise.
    """

    brightness: Tensor
    contrast: Tensor
    noise: Tensor
    seed: int


def draw_change(batch: int, strength: float, generator: Generator) -> IntensityChange:
    """Draw the changes of a batch of images.

    Args:
        batch: Number of images.
        strength: 0 changes nothing, 1 changes most.
        generator: On the CPU.
    """
    brightness, contrast, noise = torch.rand(3, batch, generator=generator)
    return IntensityChange(
        brightness=(2 * brightness - 1) * _BRIGHTNESS * strength,
        contrast=1 + (2 * contrast - 1) * _CONTRAST * strength,
        noise=noise * _NOISE * strength,
        seed=int(torch.randint(2**63 - 1, (1,), generator=generator)),
    )


def apply_change(images: Images, change: IntensityChange) -> Images:
    """Apply changes to normalised images, on the device where they are."""
    brightness, contrast, noise = (
        values.to(images.device)[:, None, None, None, None]
        for values in (change.brightness, change.contrast, change.noise)
    )
    mean = images.mean(dim=(1, 2, 3, 4), keepdim=True)
    # the noise is drawn where the images are: carrying it over would cost more than the rest
    generator = Generator(images.device).manual_seed(change.seed)
    grain = torch.randn(images.shape, generator=generator, device=images.device)
    return (images - mean) * contrast + mean + brightness + grain * noise
