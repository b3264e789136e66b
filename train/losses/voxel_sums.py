"""The sums over voxels that all four losses follow from, and their analytic gradient.

Each Dice is a function of `p[b, m, n]`, the probability of class n summed over the voxels of sample
b that are labelled m. So its derivative by a voxel's probability depends on the voxel through its
label only: the gradient of `p` is a table with a row for each label. Both passes read the logits
and work out the softmax anew, so that the gradient is the one large tensor that is ever made.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.losses.host_memory import empty_like
from train.losses.pieces import Piece, cut, work_through
from train.losses.voxels import Sample, Voxels
from train.shapes import ClassTable, Logits, Merged, PerClass, PerSample, Target

_LARGEST_EXPONENT = 80.0  # e^80 still fits into float32


class Wanted(NamedTuple):
    """Which sums are worked out; the others are 0."""

    p: bool = True
    log_q: bool = True
    log_excluded: bool = True


class VoxelSums(NamedTuple):
    """Sums over each sample's voxels, in float64 where the device has it.

    Attributes:
        p: Probability of class n over the voxels labelled m, at [sample, m, n].
        voxels: How many voxels are labelled m, at [sample, m]; it has no gradient.
        log_q: Log-probability of the labelled group (Eqs. 4 and 5).
        log_excluded: `log(p / epsilon + 1)` of the excluded classes (Eqs. 9 and 11).
    """

    p: ClassTable
    voxels: PerClass
    log_q: PerSample
    log_excluded: PerSample


def voxel_sums(
    logits: Logits, target: Target, merged: Merged, *, epsilon: float, wanted: Wanted
) -> VoxelSums:
    """Add up over the voxels, in float32 or better; the sums have a gradient, but no second one.

    Matrix products are as exact as `torch.set_float32_matmul_precision` says: by default, fully.
    """
    return VoxelSums(*_add_up_batch(logits, target, merged, epsilon, wanted))


class _Sums(torch.autograd.Function):
    """`voxel_sums`, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        target: Tensor,
        merged: Tensor,
        epsilon: float,
        wanted: Wanted,
    ) -> tuple[Tensor, ...]:
        flat, labels = logits.flatten(2), target.flatten(1)  # views, unless logits were cropped
        samples = [Sample.of(*parts) for parts in zip(flat, labels, merged, strict=True)]
        pieces = cut(flat)

        def work(piece: Piece) -> tuple[Tensor, ...]:
            return _add_up(samples[piece.sample].read(piece.voxels), epsilon, wanted)

        sums = _zeros(merged)
        for piece, parts in zip(pieces, work_through(pieces, work, flat.device), strict=True):
            groups = samples[piece.sample].groups
            sums.p[piece.sample, groups] += parts[0]
            sums.voxels[piece.sample, groups] += parts[1]
            sums.log_q[piece.sample] += parts[2]
            sums.log_excluded[piece.sample] += parts[3]
        ctx.mark_non_differentiable(sums.voxels)
        ctx.save_for_backward(flat, labels, merged)
        ctx.space, ctx.epsilon, ctx.wanted = logits.shape[2:], epsilon, wanted
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        flat, labels, merged = ctx.saved_tensors
        samples = [Sample.of(*parts) for parts in zip(flat, labels, merged, strict=True)]
        gradient = empty_like(flat)  # in the memory layout of the logits

        def work(piece: Piece) -> None:
            sample = samples[piece.sample]
            p, _, log_q, log_excluded = (s[piece.sample].to(sample.member.dtype) for s in slopes)
            of_sample = VoxelSums(p[sample.groups], _, log_q, log_excluded)
            out = gradient[piece.sample, :, piece.voxels]
            _differentiate(sample.read(piece.voxels), of_sample, ctx.epsilon, ctx.wanted, out)

        work_through(cut(flat), work, flat.device)
        return gradient.unflatten(2, ctx.space), None, None, None, None


# its threads are nothing that could be traced
_add_up_batch: Any = torch.compiler.disable(_Sums.apply)


def _zeros(merged: Tensor) -> VoxelSums:
    batch, classes = merged.shape
    exact = torch.float32 if merged.device.type == "mps" else torch.float64

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=exact, device=merged.device)

    return VoxelSums(
        zeros(batch, classes, classes), zeros(batch, classes), zeros(batch), zeros(batch)
    )


def _add_up(voxels: Voxels, epsilon: float, wanted: Wanted) -> tuple[Tensor, ...]:
    """The four sums over some voxels of one sample, by group."""
    zero = voxels.p.new_zeros(())
    return (
        voxels.labelled @ voxels.p.T if wanted.p else zero,
        voxels.labelled.sum(1),
        voxels.log_q.sum() if wanted.log_q else zero,
        _log_excluded(voxels, epsilon) if wanted.log_excluded else zero,
    )


def _log_excluded(voxels: Voxels, epsilon: float) -> Tensor:
    """Sum of log(p / epsilon + 1) over the excluded classes; all others have log 1."""
    factors = voxels.look_up(voxels.sample.excluded / epsilon).mul_(voxels.p).add_(1)
    classes = len(factors)
    # the p of a voxel sum to 1, so that this bounds the logarithm of the product
    if classes * math.log1p(1 / (epsilon * classes)) < _LARGEST_EXPONENT:
        factors = factors.prod(0)
    return factors.log_().sum()


def _differentiate(
    voxels: Voxels, slopes: VoxelSums, epsilon: float, wanted: Wanted, out: Tensor
) -> None:
    """Write the derivative by the logits into `out`, from the loss's derivatives by the sums."""
    sample = voxels.sample
    by_p = voxels.look_up(slopes.p)  # first by the probabilities
    if wanted.log_q:
        by_p.addmm_(slopes.log_q * sample.member.T, voxels.labelled_over_q)
    if wanted.log_excluded:
        by_p.addcdiv_(voxels.look_up(slopes.log_excluded * sample.excluded), voxels.p + epsilon)
    by_p *= voxels.p  # then through the softmax: p_j (d_j - sum of p_n d_n)
    torch.addcmul(by_p, voxels.p, by_p.sum(0), value=-1, out=out)
    if wanted.log_q and voxels.underflow is not None:
        out[:, voxels.underflow] += slopes.log_q * voxels.by_logits_at_underflow
