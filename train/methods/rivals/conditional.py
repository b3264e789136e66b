"""Conditional network: one binary prediction, of the class that it is asked for.

Source: Dmitriev and Kaufman, "Learning multi-class segmentations from single-class datasets", CVPR
2019.
"""

from collections.abc import Sequence
from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from manifests.classes.label_space import IGNORED
from train.device import on_device
from train.methods.method import Method, Network, SettingsObjective
from train.methods.rivals.foreground import (
    TERMS,
    binary_terms,
    check_classes,
    known_foreground,
    with_background,
)
from train.networks.network import (
    NetworkSettings,
    UNetModule,
    build_network,
    drawn_weights,
    plan_levels,
)
from train.networks.unet import Block, draw_weights
from train.patches.sampler import Batch
from train.shapes import ClassOfSample, Images, Logits, Merged, Scalar

_DRAW = 1  # separates the draw of a class from other draws of the patch's seed
# An instance norm would remove a constant map. This norm is over all channels and keeps it.
_NORM = partial(nn.GroupNorm, 1)


@final
class ConditionalNet(nn.Module):
    """A U-Net whose decoder takes the class, as a constant map at each of its levels."""

    def __init__(self, unet: UNetModule, num_classes: int) -> None:
        """Keep a U-Net whose decoder's blocks take one more channel."""
        super().__init__()
        self.unet = unet
        self.num_classes = num_classes

    def forward(self, images: Images, wanted: ClassOfSample | None = None) -> Logits:
        """Return logits [B, 1, z, y, x] of the wanted class, or [B, N, z, y, x] of all.

        Args:
            images: [B, 1, z, y, x].
            wanted: A class id for each image. Without it, every class is asked for in evaluation
                mode, and class 1 in training mode, which costs as much as a training step.
        """
        features = self.unet.encode(images)
        if wanted is None and not self.training:
            classes = range(1, self.num_classes)
            foreground = [self._decode(features, self._all(images, n)) for n in classes]
            return with_background(torch.cat(foreground, 1))
        return self._decode(features, self._all(images, 1) if wanted is None else wanted)

    def _all(self, images: Images, class_id: int) -> ClassOfSample:
        return torch.full((len(images),), class_id, device=images.device)

    def _decode(self, features: list[Tensor], wanted: ClassOfSample) -> Logits:
        value = 2 * wanted.to(features[0].dtype) / self.num_classes - 1
        below = features[-1]
        for block, skip in zip(self.unet.upsamples, features[-2::-1], strict=True):
            class_map = value.view(-1, 1, 1, 1, 1).expand(-1, 1, *skip.shape[2:])
            below = block.conv_block(torch.cat([block.transp_conv(below), skip, class_map], 1))
        return self.unet.output_block(below)


def build(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return our network with a single output and decoder blocks that take the class."""
    padded = build_network(settings, 1, seed=seed)
    unet: UNetModule = padded.unet
    levels = plan_levels(settings)[:-1]
    with drawn_weights(seed):
        for block, level, width in zip(
            unet.upsamples, reversed(levels), unet.filters[-2::-1], strict=True
        ):
            block.conv_block = Block(2 * width + 1, width, level.kernel_zyx, norm=_NORM)
            block.conv_block.apply(draw_weights)
    padded.unet = ConditionalNet(unet, num_classes)
    return padded


@final
class ConditionalObjective(SettingsObjective):
    """Binary losses of one class a patch, drawn from those that its case annotates."""

    terms = TERMS

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the sum of both terms."""
        wanted = on_device(draw_classes(batch.merged, batch.seeds), batch.images.device)
        logits = network(batch.images, wanted)
        here = batch.target == wanted.view(-1, *[1] * (batch.target.ndim - 1))
        known = torch.ones(len(wanted), 1, dtype=torch.bool, device=logits.device)
        seen = batch.target != IGNORED
        terms = binary_terms(logits, here[:, None], known, self.settings, looked_at=seen)
        return torch.stack(list(terms.values())).sum(), terms


def draw_classes(merged: Merged, seeds: Sequence[int]) -> ClassOfSample:
    """Return a foreground class for each patch, drawn evenly from those that it annotates."""
    known = known_foreground(merged).numpy()
    return torch.tensor(
        [
            1 + int(np.random.default_rng([seed, _DRAW]).choice(np.flatnonzero(row)))
            for row, seed in zip(known, seeds, strict=True)
        ]
    )


METHOD = Method(
    objective=ConditionalObjective, network=build, check=check_classes, class_as_number=True
)
