"""The four losses as the paper writes them, differentiated by PyTorch: slow, and easy to read.

The tests compare the fused losses with these. They also serve where the fused ones do not: for
forward-mode and second derivatives.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

from collections.abc import Collection, Sequence

import torch

from manifests.classes.label_space import IGNORED
from train.losses.options import (
    ClassReduction,
    LossOptions,
    Term,
    marginal_dice_loss,
    reduce_classes,
)
from train.shapes import (
    LevelLogits,
    LevelTarget,
    Logits,
    Merged,
    PerSample,
    PerSampleOfLevels,
    SampleMask,
    SampleValues,
    Target,
    VoxelLogits,
    VoxelMask,
)


def eager_terms(
    levels: Sequence[LevelLogits],
    targets: Sequence[LevelTarget],
    merged: Merged,
    *,
    wanted: Collection[Term],
    options: LossOptions,
) -> dict[Term, PerSampleOfLevels]:
    """Return the wanted terms of each sample of the first level, then of the next."""
    of_levels = [
        _terms_of_level(logits, target, merged, wanted=wanted, options=options)
        for logits, target in zip(levels, targets, strict=True)
    ]
    return {name: torch.cat([terms[name] for terms in of_levels]) for name in of_levels[0]}


def _terms_of_level(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    wanted: Collection[Term],
    options: LossOptions,
) -> dict[Term, PerSample]:
    """Return the terms of each sample, computed in float32 or better, under autocast too."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_p = exact.flatten(2).log_softmax(1)  # Eq. 1
    labels = target.flatten(1)
    looked_at = labels != IGNORED
    p = torch.where(looked_at[:, None], log_p.exp(), 0.0)
    inside = merged[:, :, None] == labels[:, None]  # z of Eq. 5, for each class of the group
    excluded = ~inside & (looked_at & (labels != 0))[:, None]  # Eq. 9
    excluded[:, 0] = False  # background is excluded from nothing
    terms: dict[Term, PerSample] = {}
    if "marginal_cross_entropy" in wanted:
        terms["marginal_cross_entropy"] = _marginal_cross_entropy(log_p, inside, looked_at)
    if "marginal_dice" in wanted:
        terms["marginal_dice"] = _marginal_dice(p, inside, merged, options)
    if "exclusion_cross_entropy" in wanted:
        terms["exclusion_cross_entropy"] = _exclusion_cross_entropy(
            p, excluded, looked_at, epsilon=options.epsilon
        )
    if "exclusion_dice" in wanted:
        terms["exclusion_dice"] = _exclusion_dice(p, excluded, options.class_reduction)
    return terms


def mean_over_looked_at(values: SampleValues, looked_at: SampleMask) -> PerSample:
    """Return each sample's mean over the voxels that were looked at; 0 without any."""
    return torch.where(looked_at, values, 0.0).sum(1) / looked_at.sum(1).clamp(min=1)


def _marginal_cross_entropy(
    log_p: VoxelLogits, inside: VoxelMask, looked_at: SampleMask
) -> PerSample:
    """Return Eq. 5, with log q (Eq. 4) from log-probabilities, since q itself may underflow."""
    known = inside | ~looked_at[:, None]  # all classes where nobody looked: never without any
    return -mean_over_looked_at(torch.where(known, log_p, -torch.inf).logsumexp(1), looked_at)


def _marginal_dice(
    p: VoxelLogits, inside: VoxelMask, merged: Merged, options: LossOptions
) -> PerSample:
    """Return Eq. 6; q is linear in p, so that classes are pooled after the sum over voxels."""
    groups = torch.arange(merged.shape[1], device=merged.device)
    member = merged[:, None] == groups[:, None]
    overlap = (torch.where(inside, p, 0.0).sum(2)[:, None] * member).sum(2)
    q = (p.sum(2)[:, None] * member).sum(2)  # Eq. 4
    voxels = inside.sum(2).to(q.dtype)
    return marginal_dice_loss(overlap, voxels + q, voxels, member, options)


def _exclusion_cross_entropy(
    p: VoxelLogits, excluded: VoxelMask, looked_at: SampleMask, *, epsilon: float
) -> PerSample:
    """Return Eq. 11."""
    logs = torch.where(excluded, (p + epsilon).log(), 0.0).sum(1)
    return mean_over_looked_at(logs, looked_at)


def _exclusion_dice(
    p: VoxelLogits, excluded: VoxelMask, class_reduction: ClassReduction
) -> PerSample:
    """Return Eq. 10."""
    somewhere = excluded.any(2)
    # a class that is excluded nowhere may have no probability either: not 0 / 0
    size = torch.where(somewhere, excluded.sum(2) + p.sum(2), 1.0)
    return reduce_classes(
        2 * torch.where(excluded, p, 0.0).sum(2) / size, somewhere, class_reduction
    )
