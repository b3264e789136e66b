"""The sums over voxels that all four losses follow from, and their analytic gradient.

Each Dice is a function of `p[b, m, n]`, the probability of class n summed over the voxels of sample
b that are labelled m. So its derivative by a voxel's probability depends on the voxel through its
label only: the gradient of `p` is a table with a row for each label. Both passes read the logits
and compute the softmax again, so that the gradient is the only large tensor that is allocated. Only
of samples that are one chunk, which are small, what the first pass computed is kept for the second.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.device import on_device
from train.losses.chunks import Chunk, empty_like, map_chunks, split_into_chunks
from train.losses.sample_voxels import EVERYWHERE, Annotation, Sample, SampleVoxels
from train.shapes import ClassTable, LevelLogits, LevelTarget, Merged, PerClass, PerSample

_LARGEST_EXPONENT = 80.0  # e^80 still fits into float32


class SumRequest(NamedTuple):
    """Which sums are computed; the others are 0. `epsilon` is that of Eq. 11."""

    p: bool = True
    log_q: bool = True
    log_excluded: bool = True
    epsilon: float = 1.0


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
    levels: Sequence[LevelLogits],
    targets: Sequence[LevelTarget],
    merged: Merged,
    request: SumRequest,
) -> VoxelSums:
    """Return the sums over the voxels, in float32 or better; they have no second derivative.

    Matrix products are as exact as `torch.set_float32_matmul_precision` says: by default, fully.

    Args:
        levels: Logits of the same samples at any number of resolutions.
        targets: Representatives at each.
        merged: Of each sample.
        request: Which sums are wanted.

    Returns:
        The sums of all samples of the first level, then those of the next.
    """
    add_up: Any = _Sums.apply
    if torch.compiler.is_compiling():
        # its threads are nothing that could be traced; to say so imports all of the compiler
        add_up = torch.compiler.disable(add_up)
    return VoxelSums(*add_up(request, merged, tuple(targets), *levels))


class _Sums(torch.autograd.Function):
    """`voxel_sums`, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        request: SumRequest,
        merged: Tensor,
        targets: Sequence[Tensor],
        *levels: Tensor,
    ) -> tuple[Tensor, ...]:
        flat = [logits.flatten(2) for logits in levels]  # views, unless logits were cropped
        labels = [target.flatten(1) for target in targets]
        annotations = [Annotation.of(row, levels[0].dtype) for row in merged]
        samples = _samples(flat, labels, annotations)
        chunks = split_into_chunks(flat)

        kept: dict[int, SampleVoxels] = {}

        def work(chunk: Chunk) -> VoxelSums:
            voxels = samples[chunk.sample].read(chunk.voxels)
            if chunk.is_small_sample:
                kept[chunk.sample] = voxels
            return _add_up(voxels, request)

        sums = _total(samples, chunks, map_chunks(chunks, work, merged.device))
        ctx.mark_non_differentiable(sums.voxels)
        ctx.save_for_backward(*flat, *labels)
        ctx.annotations, ctx.kept, ctx.request = annotations, kept, request
        ctx.spaces = [logits.shape[2:] for logits in levels]
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        count = len(ctx.spaces)
        flat, labels = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        samples = _samples(flat, labels, ctx.annotations)
        gradients = [empty_like(logits) for logits in flat]  # in the memory layout of the logits
        outs = [out for gradient in gradients for out in gradient]
        exact = ctx.annotations[0].member.dtype
        # the number of voxels has no gradient
        p, log_q, log_excluded = (grad_outputs[n].to(exact) for n in (0, 2, 3))

        def work(chunk: Chunk) -> None:
            n, sample = chunk.sample, samples[chunk.sample]
            groups = sample.annotation.groups
            by_sums = VoxelSums(p[n].index_select(0, groups), groups, log_q[n], log_excluded[n])
            out = outs[n][:, chunk.voxels]
            voxels = ctx.kept.get(n) or sample.read(chunk.voxels)
            _differentiate(voxels, by_sums, ctx.request, out=out)

        map_chunks(split_into_chunks(flat), work, p.device)
        by_levels = (g.unflatten(2, space) for g, space in zip(gradients, ctx.spaces, strict=True))
        return None, None, None, *by_levels


def _samples(
    levels: Sequence[Tensor], targets: Sequence[Tensor], annotations: Sequence[Annotation]
) -> list[Sample]:
    """Return the samples of each level, one level after the other."""
    return [
        Sample(*parts)
        for logits, target in zip(levels, targets, strict=True)
        for parts in zip(logits, target, annotations, strict=True)
    ]


def _total(
    samples: Sequence[Sample], chunks: Sequence[Chunk], parts: Sequence[VoxelSums]
) -> VoxelSums:
    """Return the sums of samples from those of their chunks, which are by group."""
    merged = samples[0].annotation.merged
    count, classes, device = len(samples), len(merged), merged.device
    exact = torch.float32 if device.type == "mps" else torch.float64
    numbers = [chunk.sample for chunk in chunks]
    of_group = torch.cat([samples[n].annotation.groups + n * classes for n in numbers])
    of_sample = on_device(torch.tensor(numbers), device)

    def add_up(found: Tensor, places: Tensor, *shape: int) -> Tensor:
        total = torch.zeros(shape, dtype=exact, device=device)
        return total.index_add_(0, places, found.to(exact))

    p, voxels, log_q, log_excluded = zip(*parts, strict=True)
    return VoxelSums(
        add_up(torch.cat(p), of_group, count * classes, classes).view(count, classes, classes),
        add_up(torch.cat(voxels), of_group, count * classes).view(count, classes),
        add_up(torch.stack(log_q), of_sample, count),
        add_up(torch.stack(log_excluded), of_sample, count),
    )


def _add_up(voxels: SampleVoxels, request: SumRequest) -> VoxelSums:
    """Return the sums over some voxels of one sample, by group."""
    zero = voxels.p.new_zeros(())
    return VoxelSums(
        voxels.labelled @ voxels.p.T if request.p else torch.zeros_like(voxels.annotation.member),
        voxels.labelled.sum(1),
        voxels.log_q.sum() if request.log_q else zero,
        _log_excluded(voxels, request.epsilon) if request.log_excluded else zero,
    )


def _log_excluded(voxels: SampleVoxels, epsilon: float) -> Tensor:
    """Return the sum of log(p / epsilon + 1) over the excluded classes; all others have log 1."""
    factors = voxels.look_up(voxels.annotation.excluded / epsilon).mul_(voxels.p).add_(1)
    classes = len(factors)
    # the p of a voxel sum to 1, so that this bounds the logarithm of the product
    if classes * math.log1p(1 / (epsilon * classes)) < _LARGEST_EXPONENT:
        factors = factors.prod(0)
    return factors.log_().sum()


def _differentiate(
    voxels: SampleVoxels, grad_outputs: VoxelSums, request: SumRequest, *, out: Tensor
) -> None:
    """Write the derivative by the logits into `out`, from the loss's derivatives by the sums."""
    annotation = voxels.annotation
    by_p = voxels.look_up(grad_outputs.p)  # first by the probabilities
    if request.log_q and voxels.underflow is not EVERYWHERE:
        by_p.addmm_(grad_outputs.log_q * annotation.member.T, voxels.labelled_over_q)
    if request.log_excluded:
        by_excluded = voxels.look_up(grad_outputs.log_excluded * annotation.excluded)
        by_p.addcdiv_(by_excluded, voxels.p + request.epsilon)
    by_p *= voxels.p  # then through the softmax: p_j (d_j - sum of p_n d_n)
    torch.addcmul(by_p, voxels.p, by_p.sum(0), value=-1, out=out)
    if request.log_q and voxels.underflow is not None:
        out[:, voxels.underflow] += grad_outputs.log_q * voxels.by_logits_at_underflow
