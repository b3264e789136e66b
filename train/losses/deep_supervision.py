"""Deep supervision: the loss at several resolutions of a network's decoder."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from manifests.classes.label_space import IGNORED
from manifests.ground.errors import TrainingError
from train.shapes import CoarseTarget, LevelLogits, Scalar, Target


def pool_target(target: Target, num_classes: int, size: Sequence[int]) -> CoarseTarget:
    """Return representatives at a lower resolution, such that no thin structure is lost.

    A coarse voxel takes the foreground class among its voxels that is rarest in the sample (of two
    equally rare ones, the higher id), and background only where there is nothing else. So a
    structure one voxel thin stays connected at any resolution; nearest neighbours or a majority
    would break it. The price is that structures grow outwards by less than a coarse voxel; the
    weights of the coarse levels are small, and the finest level sees the labels as they are. A
    coarse voxel says what is known of the voxels in it that were looked at, and is ignored if none
    was.

    Args:
        target: Representatives [B, *space].
        num_classes: N.
        size: Of the coarse space, at most that of the target along each axis.

    Raises:
        TrainingError: `size` does not fit the target.
    """
    space = target.shape[1:]
    if len(size) != len(space) or any(not 0 < n <= m for n, m in zip(size, space, strict=True)):
        msg = (
            f"cannot pool labels of {tuple(space)} voxels to {tuple(size)}: expected no larger axis"
        )
        raise TrainingError(msg)
    if tuple(size) == tuple(space):
        return target
    labels = target.flatten(1).long()
    ignored = labels == IGNORED
    counts = torch.stack([(labels == n).sum(1) for n in range(num_classes)], 1)
    counts[:, 0] = labels.shape[1] + 1  # background loses against every class
    by_rank = counts.argsort(dim=1, descending=True, stable=True)  # class of each rank
    rank = by_rank.argsort(dim=1)  # rank of each class: the rarer, the higher
    ranks = rank.gather(1, labels.masked_fill(ignored, 0)).masked_fill_(ignored, -1)
    max_pool = getattr(functional, f"adaptive_max_pool{len(space)}d")
    pooled = max_pool(ranks.view_as(target).float(), tuple(size)).long()
    found = by_rank.gather(1, pooled.flatten(1).clamp(min=0)).view_as(pooled)
    return found.masked_fill_(pooled < 0, IGNORED).to(target.dtype)


def mean_over_levels(
    levels: Sequence[LevelLogits],
    target: Target,
    loss_of: Callable[[LevelLogits, CoarseTarget], Scalar],
) -> Scalar:
    """Return the mean of a loss over levels, with weights 1, 1/2, 1/4, ...

    Args:
        levels: Logits, the finest first.
        target: Representatives [B, *space] at full resolution.
        loss_of: Returns the loss of one level's logits and pooled labels.

    Raises:
        TrainingError: There is no level, or one that is finer than the labels.

    Source: nnU-Net, Isensee et al., Nature Methods 18 (2021); the pooling of labels is ours.
    """
    if not levels:
        msg = "expected the logits of at least one level, got none"
        raise TrainingError(msg)
    weights = [0.5**level for level in range(len(levels))]
    losses = [
        weight * loss_of(logits, pool_target(target, logits.shape[1], logits.shape[2:]))
        for weight, logits in zip(weights, levels, strict=True)
    ]
    return torch.stack(losses).sum() / sum(weights)
