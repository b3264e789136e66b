"""The sums over voxels that all four losses follow from, and their analytic gradient.

Each Dice is a function of `p[b, m, n]`, the probability of class n summed over the voxels of sample
b that are labelled m. So its derivative by a voxel's probability depends on the voxel through its
label only: the gradient of `p` is a table with a row for each label. Both passes read the logits
and compute the softmax again, so that the gradient is the only large tensor that is allocated.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manifests.classes.label_space import IGNORED
from train.losses.chunks import Chunk, empty_like, map_chunks, split_into_chunks
from train.shapes import (
    ByClass,
    ByGroup,
    ByVoxel,
    ClassRow,
    ClassTable,
    Groups,
    GroupTable,
    LabelRow,
    Logits,
    Merged,
    PerClass,
    PerSample,
    Target,
    VoxelRow,
)

_EVERYWHERE = slice(None)
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


def voxel_sums(logits: Logits, target: Target, merged: Merged, request: SumRequest) -> VoxelSums:
    """Return the sums over the voxels, in float32 or better; they have no second derivative.

    Matrix products are as exact as `torch.set_float32_matmul_precision` says: by default, fully.
    """
    return VoxelSums(*_add_up_batch(logits, target, merged, request))


def would_sync(tensor: Tensor) -> bool:
    """Return whether reading this tensor's values makes the host wait for a GPU."""
    return tensor.device.type != "cpu"


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of a batch, and tables with a row for each of its groups.

    Attributes:
        logits: In any memory layout.
        groups: The representatives; ids that no voxel is labelled with may be among them.
        member: 1 where class n is in group m.
        excluded: 1 where the label m excludes class n (Eq. 9).
    """

    logits: ByClass
    target: LabelRow
    merged: ClassRow
    groups: Groups
    member: GroupTable
    excluded: GroupTable

    @classmethod
    def of(cls, logits: ByClass, target: LabelRow, merged: ClassRow) -> "Sample":
        """Return the sample with its tables, in float64 for float64 logits, else in float32."""
        exact = torch.promote_types(logits.dtype, torch.float32)
        classes = torch.arange(len(merged), device=merged.device)
        groups = classes if would_sync(merged) else merged.unique()
        member = merged == groups[:, None]
        excluded = ~member & (groups != 0)[:, None]  # background excludes nothing,
        excluded[:, 0] = False  # and is excluded from nothing
        return cls(logits, target, merged, groups, member.to(exact), excluded.to(exact))

    def read(self, chosen: slice) -> "SampleVoxels":
        """Return some of the sample's voxels."""
        logits = self.logits[:, chosen].to(self.member.dtype)
        if logits.stride(1) != 1:  # channels last, in which all that follows would be slow
            logits = torch.stack(logits.unbind())
        return SampleVoxels(self, logits, self.target[chosen])


@dataclass(frozen=True, eq=False)
class SampleVoxels:
    """Some voxels of a sample; each part is computed once, and only if it is asked for."""

    sample: Sample
    logits: ByClass
    target: LabelRow

    @cached_property
    def p(self) -> ByClass:
        """Return the probability of each class (Eq. 1)."""
        return self.logits.softmax(0)

    @cached_property
    def labelled(self) -> ByGroup:
        """Return 1 where a voxel is labelled with group m: z of Eq. 5; an ignored one has none."""
        groups, target = (ids.to(self.logits.dtype) for ids in (self.sample.groups, self.target))
        # compared as numbers of the result's type: several times faster than by way of booleans
        return torch.eq(groups[:, None], target, out=target.new_empty(len(groups), len(target)))

    def look_up(self, table: GroupTable) -> ByClass:
        """Return the row of each voxel's label as a column; zeros for an ignored voxel."""
        return table.T @ self.labelled

    @property
    def q(self) -> ByVoxel:
        """Return the probability of the labelled group (Eq. 4); 1 for ignored voxels."""
        return self._q_and_underflow[0]

    @property
    def underflow(self) -> LabelRow | slice | None:
        """Return where voxels are, among them all whose q underflows; None if there is none."""
        # q need not be known, nor looked at, if all voxels take the safe path
        return _EVERYWHERE if would_sync(self.logits) else self._q_and_underflow[1]

    @cached_property
    def _q_and_underflow(self) -> tuple[ByVoxel, Tensor | None]:
        q = (self.sample.member @ self.p).mul_(self.labelled).sum(0)
        small = q < torch.finfo(q.dtype).tiny
        if not small.any():  # the q of ignored voxels are 0 up to here
            return q, None
        small &= ~self.ignored
        return q.masked_fill_(self.ignored, 1), small.nonzero().flatten() if small.any() else None

    @cached_property
    def ignored(self) -> VoxelRow:
        """Return whether nobody looked at a voxel."""
        return self.target == IGNORED

    @cached_property
    def log_q(self) -> ByVoxel:
        """Return log q, finite even where q underflows (Eq. 5)."""
        if self.underflow is None:
            return self.q.log()
        exact = self._inside.logsumexp(0) - self.logits[:, self.underflow].logsumexp(0)
        if self.underflow is _EVERYWHERE:
            return exact
        log_q = self.q.log()
        log_q[self.underflow] = exact
        return log_q

    @cached_property
    def labelled_over_q(self) -> ByGroup:
        """Return the derivative of log q by the groups' q: z / q of Eq. 8; 0 at underflow."""
        ratio = self.labelled / self.q
        if self.underflow is not None:
            ratio[:, self.underflow] = 0
        return ratio

    @property
    def by_logits_at_underflow(self) -> ByClass:
        """Return the derivative of log q by the logits at underflow: Eq. 8, p / q as a softmax."""
        by_logits = self._inside.softmax(0) - self.p[:, self.underflow]
        return by_logits.mul_(~self.ignored[self.underflow])

    @cached_property
    def _inside(self) -> Tensor:
        """Return the labelled group's logits at underflow, minus infinity for other classes.

        Nothing is known of an ignored voxel: its group is that of all classes.
        """
        inside = self.sample.merged[:, None] == self.target[self.underflow]
        inside |= self.ignored[self.underflow]
        return torch.where(inside, self.logits[:, self.underflow], -torch.inf)


class _Sums(torch.autograd.Function):
    """`voxel_sums`, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        target: Tensor,
        merged: Tensor,
        request: SumRequest,
    ) -> tuple[Tensor, ...]:
        flat, labels = logits.flatten(2), target.flatten(1)  # views, unless logits were cropped
        samples = [Sample.of(*parts) for parts in zip(flat, labels, merged, strict=True)]
        chunks = split_into_chunks(flat)

        def work(chunk: Chunk) -> tuple[Tensor, ...]:
            return _add_up(samples[chunk.sample].read(chunk.voxels), request)

        batch, classes = merged.shape
        exact = torch.float32 if merged.device.type == "mps" else torch.float64
        shapes = (batch, classes, classes), (batch, classes), (batch,), (batch,)
        sums = VoxelSums(*(logits.new_zeros(shape, dtype=exact) for shape in shapes))
        for chunk, parts in zip(chunks, map_chunks(chunks, work, flat.device), strict=True):
            groups = samples[chunk.sample].groups
            sums.p[chunk.sample, groups] += parts[0]
            sums.voxels[chunk.sample, groups] += parts[1]
            sums.log_q[chunk.sample] += parts[2]
            sums.log_excluded[chunk.sample] += parts[3]
        ctx.mark_non_differentiable(sums.voxels)
        ctx.save_for_backward(flat, labels, merged)
        ctx.space, ctx.request = logits.shape[2:], request
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        flat, labels, merged = ctx.saved_tensors
        samples = [Sample.of(*parts) for parts in zip(flat, labels, merged, strict=True)]
        gradient = empty_like(flat)  # in the memory layout of the logits
        by_sums = [grad_outputs[n] for n in (0, 2, 3)]  # the number of voxels has no gradient

        def work(chunk: Chunk) -> None:
            sample = samples[chunk.sample]
            p, log_q, log_excluded = (s[chunk.sample].to(sample.member.dtype) for s in by_sums)
            of_sample = VoxelSums(p[sample.groups], sample.groups, log_q, log_excluded)
            out = gradient[chunk.sample, :, chunk.voxels]
            _differentiate(sample.read(chunk.voxels), of_sample, ctx.request, out=out)

        map_chunks(split_into_chunks(flat), work, flat.device)
        return gradient.unflatten(2, ctx.space), None, None, None


# its threads are nothing that could be traced
_add_up_batch: Any = torch.compiler.disable(_Sums.apply)


def _add_up(voxels: SampleVoxels, request: SumRequest) -> tuple[Tensor, ...]:
    """Return the four sums over some voxels of one sample, by group."""
    zero = voxels.p.new_zeros(())
    return (
        voxels.labelled @ voxels.p.T if request.p else zero,
        voxels.labelled.sum(1),
        voxels.log_q.sum() if request.log_q else zero,
        _log_excluded(voxels, request.epsilon) if request.log_excluded else zero,
    )


def _log_excluded(voxels: SampleVoxels, epsilon: float) -> Tensor:
    """Return the sum of log(p / epsilon + 1) over the excluded classes; all others have log 1."""
    factors = voxels.look_up(voxels.sample.excluded / epsilon).mul_(voxels.p).add_(1)
    classes = len(factors)
    # the p of a voxel sum to 1, so that this bounds the logarithm of the product
    if classes * math.log1p(1 / (epsilon * classes)) < _LARGEST_EXPONENT:
        factors = factors.prod(0)
    return factors.log_().sum()


def _differentiate(
    voxels: SampleVoxels, grad_outputs: VoxelSums, request: SumRequest, *, out: Tensor
) -> None:
    """Write the derivative by the logits into `out`, from the loss's derivatives by the sums."""
    sample = voxels.sample
    by_p = voxels.look_up(grad_outputs.p)  # first by the probabilities
    if request.log_q and voxels.underflow is not _EVERYWHERE:
        by_p.addmm_(grad_outputs.log_q * sample.member.T, voxels.labelled_over_q)
    if request.log_excluded:
        by_excluded = voxels.look_up(grad_outputs.log_excluded * sample.excluded)
        by_p.addcdiv_(by_excluded, voxels.p + request.epsilon)
    by_p *= voxels.p  # then through the softmax: p_j (d_j - sum of p_n d_n)
    torch.addcmul(by_p, voxels.p, by_p.sum(0), value=-1, out=out)
    if request.log_q and voxels.underflow is not None:
        out[:, voxels.underflow] += grad_outputs.log_q * voxels.by_logits_at_underflow
