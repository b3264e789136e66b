"""The four losses from sums over voxels: one pass forward, one backward, whichever are asked for.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Collection, Sequence

import torch

from train.losses.options import (
    ClassReduction,
    LossOptions,
    Term,
    marginal_dice_loss,
    reduce_classes,
)
from train.losses.sample_voxels import class_pairs
from train.losses.voxel_sums import SumRequest, VoxelSums, voxel_sums
from train.shapes import ClassPairs, LevelLogits, LevelTarget, Merged, PerSample, PerSampleOfLevels


def fused_terms(
    levels: Sequence[LevelLogits],
    targets: Sequence[LevelTarget],
    merged: Merged,
    *,
    wanted: Collection[Term],
    options: LossOptions,
) -> dict[Term, PerSampleOfLevels]:
    """Return the wanted terms of each sample of the first level, then of the next."""
    request = SumRequest(
        p="marginal_dice" in wanted or "exclusion_dice" in wanted,
        log_q="marginal_cross_entropy" in wanted,
        log_excluded="exclusion_cross_entropy" in wanted,
        epsilon=options.epsilon,
    )
    sums = voxel_sums(levels, targets, merged, request)
    classes = torch.arange(merged.shape[1], device=merged.device)
    inside, excluded = class_pairs(merged.repeat(len(levels), 1), classes)
    looked_at = sums.voxels.sum(1).clamp(min=1)
    terms: dict[Term, PerSample] = {}
    if "marginal_cross_entropy" in wanted:
        terms["marginal_cross_entropy"] = -sums.log_q / looked_at  # Eq. 5
    if "marginal_dice" in wanted:
        terms["marginal_dice"] = _marginal_dice(sums, inside, options, len(levels))
    if "exclusion_cross_entropy" in wanted:
        excluded_voxels = (excluded.sum(2) * sums.voxels).sum(1)
        logs = sums.log_excluded + math.log(options.epsilon) * excluded_voxels
        terms["exclusion_cross_entropy"] = logs / looked_at  # Eq. 11
    if "exclusion_dice" in wanted:
        terms["exclusion_dice"] = _exclusion_dice(sums, excluded, options.class_reduction)
    result = torch.promote_types(levels[0].dtype, torch.float32)
    return {name: term.to(result) for name, term in terms.items()}


def _marginal_dice(
    sums: VoxelSums, inside: ClassPairs, options: LossOptions, levels: int
) -> PerSample:
    """Return Eq. 6, with q pooled from p (Eq. 4) after the sum over voxels."""
    member = inside.to(sums.p.dtype)
    overlap = (sums.p * member).sum(2)
    size = sums.voxels + (sums.p.sum(1, keepdim=True) * member).sum(2)
    # samples have a Dice together within a level only
    parts = levels if options.batch_dice else 1
    tensors = (t.chunk(parts) for t in (overlap, size, sums.voxels, inside))
    of_levels = [
        marginal_dice_loss(overlap, size, voxels, inside, options)
        for overlap, size, voxels, inside in zip(*tensors, strict=True)
    ]
    return torch.cat(of_levels)


def _exclusion_dice(
    sums: VoxelSums, excluded: ClassPairs, class_reduction: ClassReduction
) -> PerSample:
    """Return Eq. 10."""
    pairs = excluded.to(sums.p.dtype)
    count = (sums.voxels[:, :, None] * pairs).sum(1)
    overlap = (sums.p * pairs).sum(1)
    somewhere = count > 0
    # a class that is excluded nowhere may have no probability either: not 0 / 0
    size = torch.where(somewhere, count + sums.p.sum(1), 1.0)
    return reduce_classes(2 * overlap / size, somewhere, class_reduction)
