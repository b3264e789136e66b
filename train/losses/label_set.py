"""Losses of other papers for labels that merge classes, to compare with.

`leaf_dice` and `marginalised_dice` are Fidon et al., "Label-set loss functions for partial
supervision", MICCAI 2021; the label set of a voxel is the group it is labelled with.
`target_adaptive_loss` is Fang and Yan, IEEE TMI 39 (2020). All have the property that Fidon et al.
ask of a label-set loss: where probability moves between classes of a voxel's label set, nothing
changes (`leaf_dice` has it if a class that is merged is labelled on its own nowhere, as is so
here). They are plain PyTorch, not tuned.
"""

import torch

from train.losses.marginal_exclusion import marginal_cross_entropy
from train.shapes import (
    ClassMask,
    Logits,
    Merged,
    Scalar,
    Target,
    VoxelLogits,
    VoxelMask,
    check_fit,
)

_EPSILON = 1e-5  # keeps a class that is neither labelled nor predicted from 0 / 0


def target_adaptive_loss(logits: Logits, target: Target, merged: Merged) -> Scalar:
    """Return cross-entropy with what is not annotated counted as background.

    Raises:
        TrainingError: If the tensors do not fit together.

    Source: Fang and Yan 2020: it is the marginal cross-entropy.
    """
    return marginal_cross_entropy(logits, target, merged)


def leaf_dice(logits: Logits, target: Target, merged: Merged, *, squared: bool = True) -> Scalar:
    """Return one minus the mean soft Dice of all N classes, of those labelled on their own.

    A class that shares its group has no voxel of its own: its Dice is 0 and teaches nothing.

    Args:
        logits: [B, N, *space].
        target: Representatives.
        merged: Each class's representative.
        squared: Whether probabilities are squared in the denominator, alpha = 2 of the paper.

    Raises:
        TrainingError: If the tensors do not fit together.

    Source: Fidon et al. 2021, the leaf-Dice loss.
    """
    check_fit(logits, target, merged)
    label = (in_label_set(target, merged) & singleton_classes(merged)[:, :, None]).float()
    return _mean_dice_loss(_probabilities(logits), label, 2 if squared else 1)


def marginalised_dice(
    logits: Logits, target: Target, merged: Merged, *, squared: bool = True
) -> Scalar:
    """Return one minus the mean soft Dice of all N classes after marginalisation.

    In each voxel both the label and the probability of its label set are shared out evenly among
    the classes of the set; the other classes keep theirs.

    Args:
        logits: [B, N, *space].
        target: Representatives.
        merged: Each class's representative.
        squared: Whether both are squared in the denominator; only so is a perfect prediction's
            loss 0.

    Raises:
        TrainingError: If the tensors do not fit together.

    Source: Fidon et al. 2021: the one conversion of a loss into a label-set loss, of mean Dice.
    """
    check_fit(logits, target, merged)
    p, members = _probabilities(logits), in_label_set(target, merged)
    share = members / members.sum(1, keepdim=True)
    q = torch.where(members, p, 0.0).sum(1, keepdim=True)  # Eq. 4 of Shi et al.
    return _mean_dice_loss(torch.where(members, share * q, p), share, 2 if squared else 1)


def singleton_classes(merged: Merged) -> ClassMask:
    """Whether a class shares its group with no other."""
    return (merged[:, :, None] == merged[:, None]).sum(2) == 1


def in_label_set(target: Target, merged: Merged) -> VoxelMask:
    """Whether class n is in the label set of a voxel."""
    return merged[:, :, None] == target.flatten(1)[:, None]


def _probabilities(logits: Logits) -> VoxelLogits:
    """Probability of each class, in float32 or better."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(2).softmax(1)


def _mean_dice_loss(p: VoxelLogits, label: VoxelLogits, power: int) -> Scalar:
    """One minus soft Dice, averaged over classes and samples."""
    size = (p**power).sum(2) + (label**power).sum(2) + _EPSILON
    return 1 - (2 * (p * label).sum(2) / size).mean()
