"""The four losses from sums over voxels: one pass forward, one backward, whichever are asked for.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Collection

import torch

from train.losses.options import (
    ClassReduction,
    LossOptions,
    Term,
    marginal_dice_loss,
    reduce_classes,
)
from train.losses.voxel_sums import SumRequest, VoxelSums, voxel_sums
from train.shapes import ClassPairs, Logits, Merged, PerSample, Target


def fused_terms(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    wanted: Collection[Term],
    options: LossOptions,
) -> dict[Term, PerSample]:
    """Return the wanted terms of each sample."""
    request = SumRequest(
        p="marginal_dice" in wanted or "exclusion_dice" in wanted,
        log_q="marginal_cross_entropy" in wanted,
        log_excluded="exclusion_cross_entropy" in wanted,
        epsilon=options.epsilon,
    )
    sums = voxel_sums(logits, target, merged, request)
    inside = merged[:, None] == torch.arange(merged.shape[1], device=merged.device)[:, None]
    excluded = ~inside
    excluded[:, 0] = False  # background excludes nothing (Eq. 9),
    excluded[:, :, 0] = False  # and is excluded from nothing
    looked_at = sums.voxels.sum(1).clamp(min=1)
    terms: dict[Term, PerSample] = {}
    if "marginal_cross_entropy" in wanted:
        terms["marginal_cross_entropy"] = -sums.log_q / looked_at  # Eq. 5
    if "marginal_dice" in wanted:
        terms["marginal_dice"] = _marginal_dice(sums, inside, options)
    if "exclusion_cross_entropy" in wanted:
        excluded_voxels = (excluded.sum(2) * sums.voxels).sum(1)
        logs = sums.log_excluded + math.log(options.epsilon) * excluded_voxels
        terms["exclusion_cross_entropy"] = logs / looked_at  # Eq. 11
    if "exclusion_dice" in wanted:
        terms["exclusion_dice"] = _exclusion_dice(sums, excluded, options.class_reduction)
    result = torch.promote_types(logits.dtype, torch.float32)
    return {name: term.to(result) for name, term in terms.items()}


def _marginal_dice(sums: VoxelSums, inside: ClassPairs, options: LossOptions) -> PerSample:
    """Return Eq. 6, with q pooled from p (Eq. 4) after the sum over voxels."""
    overlap = (sums.p * inside).sum(2)
    size = sums.voxels + (sums.p.sum(1, keepdim=True) * inside).sum(2)
    return marginal_dice_loss(overlap, size, sums.voxels, inside, options)


def _exclusion_dice(
    sums: VoxelSums, excluded: ClassPairs, class_reduction: ClassReduction
) -> PerSample:
    """Return Eq. 10."""
    count = (sums.voxels[:, :, None] * excluded).sum(1)
    overlap = (sums.p * excluded).sum(1)
    somewhere = count > 0
    # a class that is excluded nowhere may have no probability either: not 0 / 0
    size = torch.where(somewhere, count + sums.p.sum(1), 1.0)
    return reduce_classes(2 * overlap / size, somewhere, class_reduction)
