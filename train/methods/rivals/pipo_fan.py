"""PIPO-FAN, in 2-D as published (each slice with its two neighbours), and in 3-D.

Source: Fang and Yan, IEEE Transactions on Medical Imaging 39 (2020). Its target adaptive loss is
the marginal cross-entropy.
"""

from dataclasses import replace
from typing import final

from torch import nn
from torch.nn import functional

from train.losses import marginal_cross_entropy
from train.methods.method import LabelSetObjective, Method
from train.methods.rivals.pyramid import PyramidNet
from train.networks.network import (
    Level,
    NetworkSettings,
    PaddedUNet,
    drawn_weights,
    plan_levels,
    total_strides,
)
from train.shapes import Images, Logits

_SLICES = 3
_FAR_MM = 1e9  # no kernel spans slices so far apart


@final
class SliceWise(nn.Module):
    """Takes a volume through a network of slices, all of them as one batch."""

    def __init__(self, network: nn.Module) -> None:
        """Keep a network from images [B, 3, 1, y, x] to logits [B, N, 1, y, x]."""
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> Logits:
        """Classify every slice; the first and the last are their own missing neighbours."""
        batch, _, depth, *plane = images.shape
        around = functional.pad(images, (0, 0, 0, 0, 1, 1), mode="replicate")
        slices = around[:, 0].unfold(1, _SLICES, 1).movedim(-1, 2).flatten(0, 1)
        logits = self.network(slices[:, :, None])
        return logits.view(batch, depth, -1, *plane).movedim(2, 1)


def build_2d(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return a network of slices, as deep as the patch's plane allows.

    Raises:
        TrainingError: The plane is too small for three levels.
    """
    _, y, x = settings.patch_size_zyx
    spacing_x, spacing_y, _ = settings.spacing_mm
    plane = replace(settings, patch_size_zyx=(1, y, x), spacing_mm=(spacing_x, spacing_y, _FAR_MM))
    levels = [Level((1, *level.kernel_zyx[1:]), level.stride_zyx) for level in plan_levels(plane)]
    with drawn_weights(seed):
        network = PyramidNet(settings.filters[: len(levels)], levels, _SLICES, num_classes)
    return PaddedUNet(SliceWise(network), total_strides(levels))


def build_3d(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return a network of volumes, with the kernels and strides of our own network.

    Raises:
        TrainingError: The patch is too small for three levels.
    """
    levels = plan_levels(settings)
    with drawn_weights(seed):
        network = PyramidNet(settings.filters[: len(levels)], levels, 1, num_classes)
    return PaddedUNet(network, total_strides(levels))


METHOD_2D, METHOD_3D = (
    Method(
        objective=lambda *_: LabelSetObjective("marginal_cross_entropy", marginal_cross_entropy),
        network=build,
    )
    for build in (build_2d, build_3d)
)
