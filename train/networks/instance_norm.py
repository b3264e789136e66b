"""Instance normalisation in the memory layout that CPUs convolve fast in.

In it, channels are last in memory, and oneDNN's convolutions read and write without copies. PyTorch
2.13's own instance norm copies such a tensor, and returns another layout. Its batch norm does not,
and of a batch of one image it is an instance norm.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function

from train.shapes import Images

LAYOUT = torch.channels_last_3d
# Of the voxels that are summed in one go: PyTorch's batch norm adds up float32 one by one, which
# for a patch of 10^6 voxels is wrong in the fourth digit.
_MOST_VOXELS = 2**15

Moments = tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]


@final
class InstanceNorm(nn.InstanceNorm3d):
    """PyTorch's instance norm with weights, which leaves the memory layout as it is on a CPU."""

    def forward(self, images: Images) -> Images:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return images with mean 0 and variance 1 in each channel, then scaled and shifted."""
        is_last = images.is_contiguous(memory_format=LAYOUT) and not images.is_contiguous()
        # torch.compile writes a loop of its own
        if images.device.type != "cpu" or not is_last or torch.compiler.is_compiling():
            return super().forward(images)
        return _ChannelsLast.apply(images, self.weight, self.bias, self.eps)


class _ChannelsLast(Function):
    """Instance norm of images whose channels are last in memory."""

    @staticmethod
    def forward(ctx: Any, images: Images, weight: Tensor, bias: Tensor, eps: float) -> Images:  # noqa: ANN401
        moments = [_moments(image) for image in images.split(1)]
        result, unused = torch.empty_like(images), weight.new_empty(0)
        for image, (mean, variance), out in zip(
            images.split(1), moments, result.split(1), strict=True
        ):
            torch.native_batch_norm(
                *(image, weight, bias, mean, variance, False, 0.0, eps), out=(out, unused, unused)
            )
        ctx.eps = eps
        ctx.save_for_backward(images, weight, *(tensor for pair in moments for tensor in pair))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Images) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        images, weight, *moments = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=LAYOUT)
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                *(of_result, image, weight, None, None, mean, (variance + ctx.eps).rsqrt()),
                *(True, ctx.eps, (True, True, True)),
            )
            for of_result, image, mean, variance in zip(
                gradient.split(1), images.split(1), moments[::2], moments[1::2], strict=True
            )
        ]
        of_images, of_weight, of_bias = zip(*parts, strict=True)
        of_weights = torch.stack(of_weight).sum(0), torch.stack(of_bias).sum(0)
        return torch.cat(of_images), *of_weights, None


def _moments(image: Images) -> Moments:
    """Return mean and variance of each channel of one image, from those of some slices at a time.

    Source: Chan, Golub and LeVeque 1983, on updating variances.
    """
    slices = image.split(max(1, _MOST_VOXELS // (image.shape[3] * image.shape[4])), dim=2)
    # without this, which does not change, moments of bfloat16 would be rounded to bfloat16
    exact = torch.promote_types(image.dtype, torch.float32)
    running = image.new_zeros(image.shape[1], dtype=exact)
    each = [torch.batch_norm_update_stats(part, running, running, 0.0) for part in slices]
    if len(each) == 1:
        return each[0]
    means, variances = (torch.stack(column).double() for column in zip(*each, strict=True))
    depths = [[part.shape[2] / image.shape[2]] for part in slices]
    shares = torch.tensor(depths, dtype=torch.float64)
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    return mean.to(exact), variance.to(exact)
