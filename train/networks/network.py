"""Network: nnU-Net's U-Net, sized by the patch and the spacing."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from manifests.ground.errors import TrainingError
from train.boxes import Triple, triple
from train.networks.instance_norm import LAYOUT
from train.networks.unet import Level, UNet
from train.settings import MethodName, TrainSettings
from train.shapes import Images, LevelLogits, Logits

UNetModule = Any  # `UNet`: type checkers take a module's parts for tensors

_AXES = range(3)
_SMALLEST = 4  # voxels of the deepest feature map along any axis that was strided
_FEWEST_LEVELS = 3


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the architecture of the network.

    Attributes:
        filters: Channels by level, full resolution first; the patch may allow fewer levels.
        deep_supervision: Whether training mode returns logits of coarser levels, too.
        upsampling_bias: Whether transposed convolutions have a bias, as nnU-Net's have.
    """

    patch_size_zyx: Triple
    spacing_mm: tuple[float, float, float]
    filters: tuple[int, ...]
    residual: bool = False
    method: MethodName = "marginal"
    deep_supervision: bool = False
    upsampling_bias: bool = False

    @classmethod
    def of(
        cls, settings: TrainSettings, spacing_mm: tuple[float, float, float]
    ) -> "NetworkSettings":
        """Return what a training's settings and its spacing along x, y, z decide."""
        names = [field.name for field in fields(cls) if field.name != "spacing_mm"]
        return cls(spacing_mm=spacing_mm, **{name: getattr(settings, name) for name in names})


def plan_levels(settings: NetworkSettings) -> tuple[Level, ...]:
    """Return kernels and strides by level, full resolution first.

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
        kernel = triple(3 if k == 3 or axis in near else 1 for axis, k in enumerate(kernel))
        halved = _halved(size, spacing_mm)
        if not halved or len(levels) + 1 == len(settings.filters):
            break
        levels.append(Level(kernel, stride))
        stride = triple(2 if axis in halved else 1 for axis in _AXES)
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


def build_network(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> "PaddedUNet":
    """Return a network from images [B, 1, z, y, x] of any size to logits [B, N, z, y, x].

    Raises:
        TrainingError: The patch is too small, or it would be padded with deep supervision: the
            voxels of the levels would not align with those of the patch.
    """
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
    with drawn_weights(seed):
        unet = UNet(
            levels,
            settings.filters[: len(levels)],
            num_classes,
            residual=settings.residual,
            upsampling_bias=settings.upsampling_bias,
            deep_supervision=settings.deep_supervision,
        )
    return PaddedUNet(unet, multiple)


@contextmanager
def drawn_weights(seed: int) -> Generator[None]:
    """Draw new weights from a seed within the block; PyTorch's own generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves weights as they are where they would be drawn."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


@contextmanager
def without_weights() -> Generator[None]:
    """Make networks within the block whose weights have shapes, and neither memory nor values.

    PyTorch 2.13 imports all of its compiler (1.6 s) to draw normal numbers on the meta device.
    """
    with torch.device("meta"), _Undrawn():
        yield


def total_strides(levels: Sequence[Level]) -> Triple:
    """Return the product of the strides along z, y, x."""
    return triple(math.prod(level.stride_zyx[axis] for level in levels) for axis in _AXES)


@final
class PaddedUNet(nn.Module):
    """A U-Net for images of any size, also if it is no multiple of the strides."""

    def __init__(self, unet: nn.Module, multiple_zyx: Triple) -> None:
        """Keep the network and the product of its strides along each axis."""
        super().__init__()
        self.unet = unet
        self.multiple_zyx = multiple_zyx

    def forward(self, images: Images, *others: Tensor) -> Logits | tuple[LevelLogits, ...]:
        """Pad at the end of each axis by repeating the border, and crop the logits.

        `others` are further inputs of the network.
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
    """Move a network to a device, in the memory layout that is fast there."""
    # oneDNN's convolutions took 0.2 to 0.8 times as long with channels last
    layout = LAYOUT if device.type == "cpu" else torch.contiguous_format
    return network.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]


def _halved(size: list[int], spacing_mm: list[float]) -> list[int]:
    """Return the axes that the next level halves."""
    halved = _near(spacing_mm, [axis for axis in _AXES if size[axis] >= 2 * _SMALLEST])
    # a level that halves one axis only must leave more voxels, as in nnU-Net
    if len(halved) == 1 and size[halved[0]] < 3 * _SMALLEST:
        return []
    return halved


def _near(spacing_mm: list[float], axes: list[int]) -> list[int]:
    """Return those of `axes` whose spacing is less than twice the finest among them."""
    finest = min((spacing_mm[axis] for axis in axes), default=0.0)
    return [axis for axis in axes if spacing_mm[axis] < 2 * finest]
