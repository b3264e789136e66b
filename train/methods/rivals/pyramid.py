"""The network of PIPO-FAN: a pyramid of inputs, a pyramid of outputs, and attention over scales.

Source: Fang and Yan, IEEE Transactions on Medical Imaging 39 (2020), section III. Instance norm
replaces batch norm: its result does not depend on the other patches of the batch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.boxes import Triple
from train.networks.instance_norm import InstanceNorm
from train.networks.network import Level
from train.shapes import Images, Logits


@final
class PyramidNet(nn.Module):
    """Takes the image at every scale, classifies it at every scale, and weighs the scales.

    All paths from an image of the pyramid to a level of the encoder, and from a level of the
    decoder to its classifier, have the same number of convolutions: residual blocks lengthen the
    shorter paths.
    """

    def __init__(
        self, filters: Sequence[int], levels: Sequence[Level], in_channels: int, num_classes: int
    ) -> None:
        """Draw new weights; `filters` are the channels by level, full resolution first."""
        super().__init__()
        self.strides = [level.stride_zyx for level in levels]
        kernels = [level.kernel_zyx for level in levels]
        indices = range(len(levels))
        self.stem = _stem(in_channels, filters[0], kernels[0])
        self.inputs = nn.ModuleList(_chain(filters[:n], kernels[n]) for n in indices[1:])
        self.downs = nn.ModuleList(
            ResidualBlock(2 * filters[n - 1], filters[n], kernels[n]) for n in indices[1:]
        )
        self.ups = nn.ModuleList(
            ResidualBlock(filters[n] + filters[n + 1], filters[n], kernels[n]) for n in indices[:-1]
        )
        self.outputs = nn.ModuleList(_chain(filters[n::-1], kernels[n]) for n in indices)
        self.classifiers = nn.ModuleList(
            nn.Sequential(*_normed(filters[0]), nn.Conv3d(filters[0], num_classes, 1))
            for _ in indices
        )
        self.attention = ScaleAttention(num_classes, kernels[0])

    def forward(self, images: Images) -> Logits:
        """Return logits at full resolution; the size must be a multiple of the strides."""
        scales = self._classify(self._encode(images))
        size = images.shape[2:]
        return self.attention(
            [
                functional.interpolate(s, list(size), mode="trilinear") if n else s
                for n, s in enumerate(scales)
            ]
        )

    def _encode(self, images: Images) -> list[Tensor]:
        """Return features by level, each of the level above and of a pooled image."""
        features = [self.stem(images)]
        for stride, extra, down in zip(self.strides[1:], self.inputs, self.downs, strict=True):
            images = functional.avg_pool3d(images, stride)
            above = functional.max_pool3d(features[-1], stride)
            features.append(down(torch.cat([above, extra(self.stem(images))], 1)))
        return features

    def _classify(self, features: list[Tensor]) -> list[Tensor]:
        """Return logits of each level of the decoder, full resolution first."""
        decoded = [features[-1]]
        for skip, up in zip(features[-2::-1], reversed(self.ups), strict=True):
            size = list(skip.shape[2:])
            below = functional.interpolate(decoded[0], size, mode="trilinear")
            decoded.insert(0, up(torch.cat([skip, below], 1)))
        return [
            classifier(extra(one))
            for one, extra, classifier in zip(decoded, self.outputs, self.classifiers, strict=True)
        ]


@final
class ScaleAttention(nn.Module):
    """Weighs scales by one small network that all of them share.

    Each scale's logits become a map of one channel. The scale's score is the map's mean plus its
    maximum, and the weights are the softmax of the scores.
    """

    def __init__(self, num_classes: int, kernel_zyx: Triple) -> None:
        """Draw new weights."""
        super().__init__()
        self.score = nn.Sequential(
            nn.Conv3d(num_classes, 1, 1),
            nn.LeakyReLU(0.01),
            nn.Conv3d(1, 1, kernel_zyx, padding="same"),
        )

    def forward(self, scales: Sequence[Logits]) -> Logits:
        """Return the weighted sum of logits of one size."""
        weights = self.weights(scales)
        return torch.stack(
            [w[:, None, None, None, None] * s for w, s in zip(weights, scales, strict=True)]
        ).sum(0)

    def weights(self, scales: Sequence[Logits]) -> Tensor:
        """Return weights [scales, B] that sum to 1 over the scales."""
        maps = [self.score(s).flatten(1) for s in scales]
        return torch.stack([m.mean(1) + m.amax(1) for m in maps]).softmax(0)


@final
class ResidualBlock(nn.Module):
    """Two convolutions, each after norm and activation, and a skip connection of size 1."""

    def __init__(self, channels: int, out_channels: int, kernel_zyx: Triple) -> None:
        """Draw new weights."""
        super().__init__()
        self.body = nn.Sequential(
            *_normed(channels),
            nn.Conv3d(channels, out_channels, kernel_zyx, padding="same"),
            *_normed(out_channels),
            nn.Conv3d(out_channels, out_channels, kernel_zyx, padding="same"),
        )
        same = channels == out_channels
        self.bridge = nn.Identity() if same else nn.Conv3d(channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same size."""
        return self.body(features) + self.bridge(features)


def _stem(channels: int, out_channels: int, kernel_zyx: Triple) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, out_channels, kernel_zyx, padding="same"),
        *_normed(out_channels),
        nn.Conv3d(out_channels, out_channels, kernel_zyx, padding="same"),
    )


def _chain(channels: Sequence[int], kernel_zyx: Triple) -> nn.Sequential:
    """Return a residual block from each number of channels to the next."""
    return nn.Sequential(*(ResidualBlock(a, b, kernel_zyx) for a, b in pairwise(channels)))


def _normed(channels: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm(channels, affine=True), nn.LeakyReLU(0.01)
