"""Encoder and decoder of our U-Net, for networks that change what lies between them."""

from typing import Any, cast

from torch import Tensor

from train.networks.network import NetworkSettings, PaddedUNet, build_network
from train.shapes import Images

UNet = Any  # MONAI's DynUNet, which is slow to import


def padded_unet(settings: NetworkSettings, channels: int, *, seed: int) -> tuple[PaddedUNet, UNet]:
    """Return our network with so many output channels, and the U-Net inside it."""
    padded = cast("PaddedUNet", build_network(settings, channels, seed=seed))
    return padded, padded.unet


def encode(unet: UNet, images: Images) -> list[Tensor]:
    """Return features by level, full resolution first; the last are the bottleneck's."""
    features = [unet.input_block(images)]
    for block in (*unet.downsamples, unet.bottleneck):
        features.append(block(features[-1]))
    return features


def decode(unet: UNet, features: list[Tensor]) -> Tensor:
    """Return features at full resolution, before they are classified."""
    below = features[-1]
    for block, skip in zip(unet.upsamples, features[-2::-1], strict=True):
        below = block(below, skip)
    return below
