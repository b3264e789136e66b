"""Network: nnU-Net's U-Net from MONAI, sized by the patch and the spacing."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from manifests.ground.errors import TrainingError
from train.settings import MethodName, TrainSettings
from train.shapes import Images, LevelLogits, Logits

_AXES = range(3)
_SMALLEST = 4  # voxels of the deepest feature map along any axis that was strided
_CHANNELS_WORTH_CONTIGUITY = 16
_FEWEST_LEVELS = 3  # MONAI's U-Net has no fewer


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the network's form.

    Attributes:
        patch_size_zyx: Voxels that it is trained on.
        spacing_mm: Spacing along x, y, z.
        filters: Channels by level, full resolution first; the patch may allow fewer levels.
        residual: Whether its blocks are residual ones.
        method: That it is trained by; some have networks of their own.
        deep_supervision: Whether coarser levels answer, too, while it is trained.
    """

    patch_size_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    filters: tuple[int, ...]
    residual: bool = False
    method: MethodName = "marginal"
    deep_supervision: bool = False

    @classmethod
    def of(
        cls, settings: TrainSettings, spacing_mm: tuple[float, float, float]
    ) -> "NetworkSettings":
        """The form of the network of a training at a spacing along x, y, z."""
        return cls(
            settings.patch_size_zyx,
            spacing_mm,
            settings.filters,
            settings.residual,
            settings.method,
            settings.deep_supervision,
        )


@dataclass(frozen=True)
class Level:
    """One level of the U-Net.

    Attributes:
        kernel_zyx: Size of its convolutions.
        stride_zyx: Stride from the level above.
    """

    kernel_zyx: tuple[int, ...]
    stride_zyx: tuple[int, ...]


def plan_levels(settings: NetworkSettings) -> tuple[Level, ...]:
    """Kernels and strides by level, full resolution first.

    An axis is halved unless its feature map would become smaller than 4 or its spacing is twice
    the finest among the axes that can still be halved; its kernel is 1 as long as its spacing is
    twice the finest of all.

    Raises:
        TrainingError: The patch is too small for three levels.

    Source: nnU-Net's `get_pool_and_conv_props`.
    """
    size, spacing_mm = list(settings.patch_size_zyx), list(reversed(settings.spacing_mm))
    kernel, stride, levels = (1, 1, 1), (1, 1, 1), list[Level]()
    while True:
        near = _near(spacing_mm, list(_AXES))
        kernel = tuple(3 if k == 3 or axis in near else 1 for axis, k in enumerate(kernel))
        halved = _halved(size, spacing_mm)
        if not halved or len(levels) + 1 == len(settings.filters):
            break
        levels.append(Level(kernel, stride))
        stride = tuple(2 if axis in halved else 1 for axis in _AXES)
        size = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
        spacing_mm = [mm * s for mm, s in zip(spacing_mm, stride, strict=True)]
    levels.append(Level((3, 3, 3), stride))
    if len(levels) < _FEWEST_LEVELS:
        msg = (
            f"a patch of {settings.patch_size_zyx} voxels (z, y, x) allows {len(levels)} levels, "
            f"expected at least {_FEWEST_LEVELS}; set patch_size_zyx to 16 or more along each axis"
        )
        raise TrainingError(msg)
    return tuple(levels)


def build_network(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """A network from images [B, 1, z, y, x] of any size to logits [B, N, z, y, x].

    Args:
        settings: Its form.
        num_classes: N, with the background.
        seed: Of the initial weights; PyTorch's own generator is left as it was.

    Raises:
        TrainingError: The patch is too small, or deep supervision would have to pad it: the levels
            would not lie on its voxels.
    """
    from train.networks.unet import UNet  # slow to import

    levels = plan_levels(settings)
    multiple = total_strides(levels)
    if settings.deep_supervision and any(
        n % m for n, m in zip(settings.patch_size_zyx, multiple, strict=True)
    ):
        msg = (
            f"deep_supervision needs patches of a multiple of {multiple} voxels (z, y, x), the "
            f"network's strides; got {settings.patch_size_zyx}; set patch_size_zyx or fit_patch"
        )
        raise TrainingError(msg)
    strides = [level.stride_zyx for level in levels]
    with drawn_weights(seed):
        unet = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=num_classes,
            kernel_size=[level.kernel_zyx for level in levels],
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=settings.filters[: len(levels)],
            res_block=settings.residual,
            deep_supervision=settings.deep_supervision,
            # as nnU-Net, which gives its coarsest decoder level no weight
            deep_supr_num=max(1, len(levels) - _FEWEST_LEVELS),
        )
    return PaddedUNet(unet, multiple)


@contextmanager
def drawn_weights(seed: int) -> Generator[None]:
    """Draw new weights from a seed, and leave PyTorch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def total_strides(levels: tuple[Level, ...]) -> tuple[int, ...]:
    """Product of the strides along z, y, x."""
    return tuple(math.prod(level.stride_zyx[axis] for level in levels) for axis in _AXES)


@final
class PaddedUNet(nn.Module):
    """A U-Net that takes images whose size is no multiple of its strides."""

    def __init__(self, unet: nn.Module, multiple_zyx: tuple[int, ...]) -> None:
        """Keep the network and the product of its strides along each axis."""
        super().__init__()
        self.unet = unet
        self.multiple_zyx = multiple_zyx

    def forward(self, images: Images, *others: Tensor) -> Logits | tuple[LevelLogits, ...]:
        """Pad at the end of each axis by repeating the border, and crop the logits back.

        Args:
            images: Of any size.
            others: What the network takes beside them.
        """
        size = images.shape[2:]
        missing = [-n % multiple for n, multiple in zip(size, self.multiple_zyx, strict=True)]
        if not any(missing):
            return self.unet(images, *others)
        padding = [amount for n in reversed(missing) for amount in (0, n)]
        logits = self.unet(functional.pad(images, padding, mode="replicate"), *others)
        z, y, x = size
        return logits[:, :, :z, :y, :x]


def for_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Bring a network to a device, in the memory layout that is fast there."""
    # with 8 channels at full resolution oneDNN took 0.7 times as long with channels last, with 16
    # or 24 about as long, with 32 a tenth to a fifth longer
    widths = [len(weights) for weights in network.parameters() if weights.ndim]
    narrow = not widths or widths[0] < _CHANNELS_WORTH_CONTIGUITY
    last = device.type == "cpu" and narrow
    layout = torch.channels_last_3d if last else torch.contiguous_format
    return network.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]


def _halved(size: list[int], spacing_mm: list[float]) -> list[int]:
    """The axes that the next level halves."""
    halved = _near(spacing_mm, [axis for axis in _AXES if size[axis] >= 2 * _SMALLEST])
    # a lone axis must leave more than the least, or the level would not be worth it
    if len(halved) == 1 and size[halved[0]] < 3 * _SMALLEST:
        return []
    return halved


def _near(spacing_mm: list[float], axes: list[int]) -> list[int]:
    """Those of `axes` whose spacing is less than twice the finest among them."""
    finest = min((spacing_mm[axis] for axis in axes), default=0.0)
    return [axis for axis in axes if spacing_mm[axis] < 2 * finest]
