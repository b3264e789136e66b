"""Marginal and exclusion losses: one network learns every class from cases that label only some.

`merged` says for each sample which classes its annotator did not tell apart. The marginal losses
compare what was labelled with the summed probability of each such group; the exclusion losses
push a class away from voxels that are known to be something else. With `merged = 0, 1, ..., N-1`
the marginal losses are the regular ones, so that a batch may mix cases of any datasets.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from manifests.errors import TrainingError
from train.shapes import (
    ClassCounts,
    ClassMask,
    Logits,
    Merged,
    PerClass,
    Scalar,
    Target,
    VoxelLogits,
    VoxelMask,
    VoxelTarget,
    check_fit,
)

ClassReduction = Literal["sum", "mean"]


@dataclass(frozen=True, eq=False)
class _Batch:
    """What the four terms share: each part is worked out once, and only if a term asks for it."""

    logits: VoxelLogits  # float32 or float64
    target: VoxelTarget
    merged: Merged

    @cached_property
    def log_p(self) -> VoxelLogits:
        """Log-probability of each class (Eq. 1)."""
        return self.logits.log_softmax(1)

    @cached_property
    def p(self) -> VoxelLogits:
        """Probability of each class (Eq. 1)."""
        return self.log_p.exp()

    @cached_property
    def mass(self) -> PerClass:
        """Sum of each class's probability over the voxels."""
        return self.p.sum(-1)

    @cached_property
    def inside(self) -> VoxelMask:
        """Whether a voxel's label is the group that class n is in: z of Eq. 5, for each class."""
        return self.merged[:, :, None] == self.target[:, None]

    @cached_property
    def excluded(self) -> VoxelMask:
        """Whether a voxel's label is a foreground group that class n is not in (Eq. 9)."""
        excluded = ~self.inside & (self.target != 0)[:, None]
        excluded[:, 0] = False  # background is excluded from nothing
        return excluded

    @cached_property
    def excluded_p(self) -> VoxelLogits:
        """Probability of each class where it is excluded, 0 elsewhere: e p of Eq. 10."""
        return torch.where(self.excluded, self.p, 0.0)

    @cached_property
    def excluded_count(self) -> PerClass:
        """Number of voxels that each class is excluded from."""
        return _count(self.excluded).to(self.logits.dtype)


def marginal_cross_entropy(logits: Logits, target: Target, merged: Merged) -> Scalar:
    """Return the mean over voxels of `-log q` of the labelled group.

    Finite for logits up to 1e30 in size; infinite where the target is no representative.

    Raises:
        TrainingError: If the shapes, types or devices do not fit together.

    Source: Eq. 5; its gradient is Eq. 8.
    """
    return _marginal_cross_entropy(_batch(logits, target, merged))


def marginal_dice(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    class_reduction: ClassReduction = "sum",
    smooth: float = 1e-5,
) -> Scalar:
    """Return one minus soft Dice, reduced over each sample's groups, then averaged over samples.

    Background's group counts as any other. `smooth` is in voxels: with it, a group that is neither
    labelled nor predicted costs nothing.

    Raises:
        TrainingError: If the tensors do not fit together, or an option is out of range.

    Source: Eq. 6.
    """
    _check_options(class_reduction, smooth=smooth)
    return _marginal_dice(_batch(logits, target, merged), class_reduction, smooth)


def exclusion_cross_entropy(
    logits: Logits, target: Target, merged: Merged, *, epsilon: float = 1.0
) -> Scalar:
    """Return the mean over voxels of `log(p + epsilon)`, summed over the classes excluded there.

    Raises:
        TrainingError: If the tensors do not fit together, or `epsilon` is out of range.

    Source: Eq. 11.
    """
    _check_options(epsilon=epsilon)
    return _exclusion_cross_entropy(_batch(logits, target, merged), epsilon)


def exclusion_dice(
    logits: Logits, target: Target, merged: Merged, *, class_reduction: ClassReduction = "sum"
) -> Scalar:
    """Return the soft Dice between each class and the region that it is excluded from.

    Reduced over the classes of a sample that are excluded somewhere, then averaged over samples.

    Raises:
        TrainingError: If the tensors do not fit together, or an option is out of range.

    Source: Eq. 10.
    """
    _check_options(class_reduction)
    return _exclusion_dice(_batch(logits, target, merged), class_reduction)


class MarginalExclusionLoss(nn.Module):
    """Weighted sum of the four losses; the default weights are the best of Table 5."""

    def __init__(
        self,
        *,
        marginal_weight: float = 1.0,
        exclusion_weight: float = 2.0,
        class_reduction: ClassReduction = "sum",
        smooth: float = 1e-5,
        epsilon: float = 1.0,
    ) -> None:
        """Keep the options; a weight of 0 leaves its two terms out, work and all.

        Raises:
            TrainingError: If an option is out of range, or both weights are 0.
        """
        super().__init__()
        _check_options(class_reduction, smooth=smooth, epsilon=epsilon)
        weights = {"marginal": marginal_weight, "exclusion": exclusion_weight}
        if min(weights.values()) < 0 or not 0 < sum(weights.values()) < math.inf:
            msg = f"expected finite weights >= 0, not both 0, got {weights}"
            raise TrainingError(msg)
        self.weights = weights
        self.class_reduction: ClassReduction = class_reduction
        self.smooth = smooth
        self.epsilon = epsilon

    def forward(self, logits: Logits, target: Target, merged: Merged) -> Scalar:
        """Return the total loss."""
        return self.total(self.terms(logits, target, merged))

    def terms(self, logits: Logits, target: Target, merged: Merged) -> dict[str, Tensor]:
        """Return each term by its function's name, not weighted; terms of weight 0 are left out.

        Raises:
            TrainingError: If the shapes, types or devices do not fit together.
        """
        batch = _batch(logits, target, merged)
        terms: dict[str, Tensor] = {}
        if self.weights["marginal"]:
            terms["marginal_cross_entropy"] = _marginal_cross_entropy(batch)
            terms["marginal_dice"] = _marginal_dice(batch, self.class_reduction, self.smooth)
        if self.weights["exclusion"]:
            terms["exclusion_cross_entropy"] = _exclusion_cross_entropy(batch, self.epsilon)
            terms["exclusion_dice"] = _exclusion_dice(batch, self.class_reduction)
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Scalar:
        """Return the weighted sum of what `terms` returned, for a loop that logs the terms too."""
        weighted = [self.weights[name.split("_")[0]] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()


def _marginal_cross_entropy(batch: _Batch) -> Scalar:
    """Eq. 5, with log q (Eq. 4) from log-probabilities, since q itself may underflow."""
    return -torch.where(batch.inside, batch.log_p, -torch.inf).logsumexp(1).mean()


def _marginal_dice(batch: _Batch, class_reduction: ClassReduction, smooth: float) -> Scalar:
    """Eq. 6; q is linear in p, so that classes are pooled after the sum over voxels."""
    overlap = _pool(torch.where(batch.inside, batch.p, 0.0).sum(-1), batch.merged)
    size = _count(batch.inside) + _pool(batch.mass, batch.merged)
    is_group = batch.merged == torch.arange(batch.merged.shape[1], device=batch.merged.device)
    return _reduce(1 - (2 * overlap + smooth) / (size + smooth), is_group, class_reduction)


def _exclusion_cross_entropy(batch: _Batch, epsilon: float) -> Scalar:
    """Eq. 11."""
    # e log(p + eps) = log1p(e p / eps) + e log(eps): one pass, over what Eq. 10 needs too
    log_ratio = (batch.excluded_p / epsilon).log1p().sum()
    return (log_ratio + batch.excluded_count.sum() * math.log(epsilon)) / batch.target.numel()


def _exclusion_dice(batch: _Batch, class_reduction: ClassReduction) -> Scalar:
    """Eq. 10."""
    keep = batch.excluded_count > 0
    # a class that is excluded nowhere may have no probability either: not 0 / 0
    size = torch.where(keep, batch.excluded_count + batch.mass, 1.0)
    return _reduce(2 * batch.excluded_p.sum(-1) / size, keep, class_reduction)


def _count(mask: VoxelMask) -> ClassCounts:
    """Count the voxels of each class's mask."""
    # as bytes: a sum of booleans copies the mask into wider numbers first
    return mask.view(torch.uint8).sum(-1, dtype=torch.int32)


def _pool(values: PerClass, merged: Merged) -> PerClass:
    """Sum over the classes of each group, at its representative (Eq. 4); 0 at other classes."""
    # not scatter_add, whose order of summation varies on a GPU, nor matmul, which autocast rounds
    member = merged[:, None] == torch.arange(merged.shape[1], device=merged.device)[:, None]
    return (values[:, None] * member).sum(-1)


def _reduce(values: PerClass, keep: ClassMask, class_reduction: ClassReduction) -> Scalar:
    """Sum or average each sample's kept classes (none: 0), then average over the samples."""
    per_sample = torch.where(keep, values, 0.0).sum(1)
    if class_reduction == "mean":
        per_sample = per_sample / keep.sum(1).clamp(min=1)
    return per_sample.mean()


def _batch(logits: Tensor, target: Tensor, merged: Tensor) -> _Batch:
    """Flatten the space, and take logits of at least float32, under autocast too."""
    check_fit(logits, target, merged)
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return _Batch(exact.flatten(2), target.flatten(1), merged)


def _check_options(class_reduction: str = "sum", **above_zero: float) -> None:
    """Refuse options out of range."""
    if class_reduction not in ("sum", "mean"):
        msg = f"class_reduction must be 'sum' or 'mean', got {class_reduction!r}"
        raise TrainingError(msg)
    for name, value in above_zero.items():
        if not 0 < value < math.inf:
            msg = f"{name} must be finite and above 0, got {value}"
            raise TrainingError(msg)
