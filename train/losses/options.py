"""Options of the losses, checked, and the reduction over groups or classes."""

import math
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

import torch

from manifests.ground.errors import TrainingError
from train.shapes import ClassMask, PerClass, PerSample

ClassReduction = Literal["sum", "mean"]
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
        implementation: `fused` is fast; `eager` is the paper's equations as they stand.

    Raises:
        TrainingError: An option is out of range.
    """

    class_reduction: ClassReduction = "sum"
    smooth: float = 1e-5
    epsilon: float = 1.0
    label_smoothing: float = 0.0
    implementation: Implementation = "fused"

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        _check_choice("class_reduction", self.class_reduction, get_args(ClassReduction))
        _check_choice("implementation", self.implementation, get_args(Implementation))
        for name in ("smooth", "epsilon"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                msg = f"{name} must be finite and above 0, got {value}"
                raise TrainingError(msg)
        if not 0 <= self.label_smoothing < 1:
            msg = f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            raise TrainingError(msg)


def reduce_classes(values: PerClass, keep: ClassMask, class_reduction: ClassReduction) -> PerSample:
    """Return the sum or the mean of each sample's kept values; 0 where none is kept."""
    total = torch.where(keep, values, 0.0).sum(1)
    return total / keep.sum(1).clamp(min=1) if class_reduction == "mean" else total


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{name} must be {' or '.join(repr(c) for c in choices)}, got {value!r}"
        raise TrainingError(msg)
