"""U-Net: MONAI's, with the kernels that nnU-Net's own decoder has."""

from collections.abc import Sequence
from typing import Any, final

from monai.networks.blocks.dynunet_block import UnetUpBlock
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn

from train.networks.instance_norm import with_kept_layout
from train.shapes import Images, LevelLogits, Logits


@final
class UNet(DynUNet):
    """A U-Net whose decoder has at each level the kernel of the encoder at that level.

    MONAI's decoder has the kernel of the level below: on anisotropic grids the full resolution gets
    3 x 3 x 3 where nnU-Net has 1 x 3 x 3, three times the work in its most expensive stage.

    With deep supervision, training mode returns logits of the coarser levels at their own
    resolution, where MONAI resamples them to the full one.

    Source: nnU-Net's `UNetDecoder`.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        """Build MONAI's network."""
        super().__init__(**options)
        with_kept_layout(self)

    def forward(self, x: Images) -> Logits | tuple[LevelLogits, ...]:
        """Return logits; with deep supervision in training mode, of each level, finest first."""
        logits = self.output_block(self.skip_layers(x))
        return (logits, *self.heads) if self.training and self.deep_supervision else logits

    def encode(self, images: Images) -> list[Tensor]:
        """Return features by level, full resolution first; the last are the bottleneck's."""
        features = [self.input_block(images)]
        for block in (*self.downsamples, self.bottleneck):
            features.append(block(features[-1]))
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return features at full resolution, before they are classified."""
        below = features[-1]
        for block, skip in zip(self.upsamples, features[-2::-1], strict=True):
            below = block(below, skip)
        return below

    def get_upsamples(self) -> nn.ModuleList:
        """Return the decoder, deepest level first."""
        return self.get_module_list(
            list(self.filters[:0:-1]),
            list(self.filters[-2::-1]),
            self.kernel_size[-2::-1],
            self.strides[:0:-1],
            UnetUpBlock,  # pyright: ignore[reportArgumentType]
            self.upsample_kernel_size[::-1],
            trans_bias=self.trans_bias,
        )
