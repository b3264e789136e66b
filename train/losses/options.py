"""Options of the losses, checked, and the reduction over groups or classes."""

import math
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

import torch

from manifests.ground.errors import TrainingError
from train.shapes import ClassMask, ClassPairs, PerClass, PerSample

ClassReduction = Literal["sum", "mean"]
DiceGroups = Literal["all", "present", "single"]
Implementation = Literal["fused", "eager"]
Term = Literal[
    "marginal_cross_entropy", "marginal_dice", "exclusion_cross_entropy", "exclusion_dice"
]
TERMS: tuple[Term, ...] = get_args(Term)


class LossKeywords(TypedDict, total=False):
    """The fields of `LossOptions`, as keyword arguments of the losses."""

    class_reduction: ClassReduction
    smooth: float
    epsilon: float
    label_smoothing: float
    dice_groups: DiceGroups
    batch_dice: bool
    implementation: Implementation


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What decides the values of the four terms.

    Attributes:
        class_reduction: Whether the Dice losses are summed over groups or classes, as in the paper,
            or averaged.
        smooth: Voxels added to the numerator and the denominator of the marginal Dice.
        epsilon: Added to probabilities inside the exclusion cross-entropy's logarithm.
        label_smoothing: Share of the marginal cross-entropy's label that goes to all classes alike.
        dice_groups: Which groups have a marginal Dice: all, as in the paper; those that some voxel
            is labelled with; or those of a single class.
        batch_dice: Whether the marginal Dice of a group is that of all samples that have the same
            group, as if they were one.
        implementation: `fused` is fast; `eager` is the paper's equations as they stand.

    Raises:
        TrainingError: An option is out of range.
    """

    class_reduction: ClassReduction = "sum"
    smooth: float = 1e-5
    epsilon: float = 1.0
    label_smoothing: float = 0.0
    dice_groups: DiceGroups = "all"
    batch_dice: bool = False
    implementation: Implementation = "fused"

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        _check_choice("class_reduction", self.class_reduction, get_args(ClassReduction))
        _check_choice("dice_groups", self.dice_groups, get_args(DiceGroups))
        _check_choice("implementation", self.implementation, get_args(Implementation))
        for name in ("smooth", "epsilon"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                msg = f"{name} must be finite and above 0, got {value}"
                raise TrainingError(msg)
        if not 0 <= self.label_smoothing < 1:
            msg = f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            raise TrainingError(msg)


def marginal_dice_loss(
    overlap: PerClass, size: PerClass, voxels: PerClass, inside: ClassPairs, options: LossOptions
) -> PerSample:
    """Return Eq. 6 of each sample, from sums over its voxels by group.

    Args:
        overlap: Probability of the group over the voxels labelled with it.
        size: These voxels, and the probability of the group over all voxels.
        voxels: These voxels.
        inside: Whether class n, the last axis, is in group m; no class is in one that is no group.
        options: Which groups count, and what is added to the voxels.
    """
    keep = inside.diagonal(dim1=1, dim2=2)
    if options.batch_dice:
        keep = keep & voxels.any(1, keepdim=True)  # a sample that nobody looked at costs nothing
        same = (inside[:, None] == inside[None]).all(3).to(size.dtype)  # [sample, other, group]
        # no matrix product: autocast would take one of float32 to 16 bits
        overlap, size, voxels = ((same * sums).sum(1) for sums in (overlap, size, voxels))
    dice = (2 * overlap + options.smooth) / (size + options.smooth)
    if options.dice_groups == "present":
        keep = keep & (voxels > 0)
    elif options.dice_groups == "single":
        keep = keep & (inside.sum(2) == 1)
    return reduce_classes(1 - dice, keep, options.class_reduction)


def reduce_classes(values: PerClass, keep: ClassMask, class_reduction: ClassReduction) -> PerSample:
    """Return the sum or the mean of each sample's kept values; 0 where none is kept."""
    total = torch.where(keep, values, 0.0).sum(1)
    return total / keep.sum(1).clamp(min=1) if class_reduction == "mean" else total


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{name} must be {' or '.join(repr(c) for c in choices)}, got {value!r}"
        raise TrainingError(msg)
