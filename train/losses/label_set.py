"""Label-set losses of other papers, and the masks of merged classes that they need.

The label set of a voxel is the group it is labelled with. Where probability moves between classes
of a voxel's label set, a label-set loss does not change. Leaf-Dice has that property if a class
that is merged is labelled on its own nowhere, which holds here.
"""

import torch

from manifests.classes.label_space import IGNORED
from train.shapes import ClassMask, Logits, Merged, Scalar, Target, VoxelMask, check_fit

_EPSILON = 1e-5  # keeps a class that is neither labelled nor predicted from 0 / 0


def leaf_dice(logits: Logits, target: Target, merged: Merged) -> Scalar:
    """Return one minus the mean soft Dice of all N classes, of those labelled on their own.

    A class that shares its group has no voxel of its own: its Dice is 0 and teaches nothing.
    Probabilities are squared in the denominator, alpha = 2 of the paper.

    Raises:
        TrainingError: The tensors do not fit together.

    Source: Fidon et al., "Label-set loss functions for partial supervision", MICCAI 2021.
    """
    check_fit(logits, target, merged)
    looked_at = target.flatten(1)[:, None] != IGNORED
    label = (in_label_set(target, merged) & singleton_classes(merged)[:, :, None]).float()
    p = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(2).softmax(1)
    p = torch.where(looked_at, p, 0.0)
    size = (p**2).sum(2) + (label**2).sum(2) + _EPSILON
    return 1 - (2 * (p * label).sum(2) / size).mean()


def singleton_classes(merged: Merged) -> ClassMask:
    """Return whether each class shares its group with no other."""
    return (merged[:, :, None] == merged[:, None]).sum(2) == 1


def in_label_set(target: Target, merged: Merged) -> VoxelMask:
    """Return whether class n is in the label set of a voxel."""
    return merged[:, :, None] == target.flatten(1)[:, None]
