"""U-Net: nnU-Net's, plain or residual, with the parameters' names and values of MONAI's DynUNet.

Checkpoints from when it was MONAI's can be loaded, and a seed still draws the same weights. MONAI
1.6 itself imports all of its modules, and pandas, Matplotlib and scikit-learn, for any one of them.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import final

import torch
from torch import nn

from train.boxes import Triple, triple
from train.networks.instance_norm import InstanceNorm
from train.shapes import Features, Images, LevelLogits, Logits

_SLOPE = 0.01  # of the leaky ReLU

Norm = Callable[[int], nn.Module]  # of a number of channels
AFFINE: Norm = partial(InstanceNorm, affine=True)


@dataclass(frozen=True)
class Level:
    """One level of the U-Net: the size of its kernels, and the stride from the level above."""

    kernel_zyx: Triple
    stride_zyx: Triple


@final
class UNet(nn.Module):
    """A U-Net whose decoder has at each level the kernel of the encoder at that level.

    With deep supervision, training mode returns logits of the coarser levels, too, each at its own
    resolution; the coarsest level of the decoder has none.

    Source: nnU-Net's `PlainConvEncoder`, `ResidualEncoder` and `UNetDecoder`.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        filters: Sequence[int],
        num_classes: int,
        *,
        residual: bool = False,
        upsampling_bias: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        """Draw new weights, for at least three levels; `filters` are the channels by level."""
        super().__init__()
        self.filters = tuple(filters)
        self.deep_supervision = deep_supervision
        block = ResidualBlock if residual else Block
        down = [
            block(into, out, level.kernel_zyx, level.stride_zyx)
            for into, out, level in zip((1, *filters), filters, levels, strict=False)
        ]
        self.input_block = down[0]
        self.downsamples = nn.ModuleList(down[1:-1])
        self.bottleneck = down[-1]
        self.upsamples = nn.ModuleList(
            UpBlock((into, out), level.kernel_zyx, below.stride_zyx, bias=upsampling_bias)
            for (out, into), (level, below) in zip(
                reversed([*pairwise(filters)]), reversed([*pairwise(levels)]), strict=True
            )
        )
        self.output_block = _head(filters[0], num_classes)
        torch.rand(1)  # as DynUNet does, or a seed would give other weights than MONAI's
        if deep_supervision:
            heads = range(1, max(2, len(levels) - 2))  # the coarsest has none in nnU-Net either
            self.deep_supervision_heads = nn.ModuleList(
                _head(filters[n], num_classes) for n in heads
            )
        self.apply(draw_weights)

    def forward(self, images: Images) -> Logits | tuple[LevelLogits, ...]:
        """Return logits; with deep supervision in training mode, of each level, finest first."""
        decoded = self.decode(self.encode(images))
        logits = self.output_block(decoded[-1])
        if not (self.training and self.deep_supervision):
            return logits
        coarser = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
        return (logits, *(head(features) for head, features in coarser))

    def encode(self, images: Images) -> list[Features]:
        """Return features by level, full resolution first; the last are the bottleneck's."""
        features = [self.input_block(images)]
        for block in (*self.downsamples, self.bottleneck):
            features.append(block(features[-1]))
        return features

    def decode(self, features: Sequence[Features]) -> list[Features]:
        """Return the decoder's features by level, full resolution last, before they are classified.

        `features` are what `encode` returns.
        """
        features = list(features)  # emptied, so that no memory is held longer than needed
        decoded = [features.pop()]
        for block in self.upsamples:
            decoded.append(block(decoded[-1], features.pop()))
        return decoded[1:]


class Block(nn.Module):
    """Two convolutions, each with a norm and a leaky ReLU."""

    def __init__(
        self,
        into: int,
        out: int,
        kernel_zyx: Triple,
        stride_zyx: Triple = (1, 1, 1),
        *,
        norm: Norm = AFFINE,
    ) -> None:
        """Take `into` channels and return `out`; the first convolution is strided."""
        super().__init__()
        self.conv1 = _convolution(into, out, kernel_zyx, stride_zyx)
        self.conv2 = _convolution(out, out, kernel_zyx)
        self.lrelu = nn.LeakyReLU(_SLOPE, inplace=True)
        self.norm1 = norm(out)
        self.norm2 = norm(out)

    def forward(self, images: Features) -> Features:
        """Return the features."""
        found = self.lrelu(self.norm1(self.conv1(images)))
        return self.lrelu(self.norm2(self.conv2(found)))


@final
class ResidualBlock(Block):
    """The same, with what comes in added before the last leaky ReLU."""

    def __init__(
        self, into: int, out: int, kernel_zyx: Triple, stride_zyx: Triple = (1, 1, 1)
    ) -> None:
        """Take `into` channels; a convolution makes what comes in fit where it would not."""
        super().__init__(into, out, kernel_zyx, stride_zyx)
        self.fits = into == out and stride_zyx == (1, 1, 1)
        if not self.fits:
            self.conv3 = _convolution(into, out, (1, 1, 1), stride_zyx)
            self.norm3 = AFFINE(out)

    def forward(self, images: Features) -> Features:
        """Return the features."""
        found = self.lrelu(self.norm1(self.conv1(images)))
        found = self.norm2(self.conv2(found))
        found += images if self.fits else self.norm3(self.conv3(images))
        return self.lrelu(found)


@final
class UpBlock(nn.Module):
    """A transposed convolution to the next finer level, and a block of it and of the encoder."""

    def __init__(
        self, channels: tuple[int, int], kernel_zyx: Triple, up_zyx: Triple, *, bias: bool
    ) -> None:
        """Go from the first number of channels to the second, and to `up_zyx` times the size."""
        super().__init__()
        into, out = channels
        self.transp_conv = _named(nn.ConvTranspose3d(into, out, up_zyx, up_zyx, bias=bias))
        self.conv_block = Block(2 * out, out, kernel_zyx)

    def forward(self, images: Features, skip: Features) -> Features:
        """Return features at the resolution of `skip`, the encoder's."""
        return self.conv_block(torch.cat((self.transp_conv(images), skip), 1))


def draw_weights(module: nn.Module) -> None:
    """Draw a convolution's weights from He's distribution, as nnU-Net does."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _convolution(
    into: int, out: int, kernel_zyx: Triple, stride_zyx: Triple = (1, 1, 1)
) -> nn.Module:
    padding = triple(n // 2 for n in kernel_zyx)
    return _named(nn.Conv3d(into, out, kernel_zyx, stride_zyx, padding, bias=False))


def _head(into: int, num_classes: int) -> nn.Module:
    return _named(_named(nn.Conv3d(into, num_classes, 1)))


def _named(module: nn.Module) -> nn.Module:
    """Return a module whose parameters' names begin with `conv`, as in MONAI's."""
    return nn.Sequential(OrderedDict(conv=module))
