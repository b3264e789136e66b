"""Options of the losses, checked."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from manifests.ground.errors import TrainingError
from train.losses.class_reduction import ClassReduction

Implementation = Literal["fused", "eager"]
Term = Literal[
    "marginal_cross_entropy", "marginal_dice", "exclusion_cross_entropy", "exclusion_dice"
]
TERMS: tuple[Term, ...] = get_args(Term)


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What decides the values of the four terms.

    Attributes:
        class_reduction: The Dice losses are summed over groups or classes, as in the paper, or
            averaged.
        smooth: Voxels added above and below in the marginal Dice.
        epsilon: Added to probabilities inside the exclusion cross-entropy's logarithm.
        label_smoothing: Share of the marginal cross-entropy's label that goes to all classes alike.

    Raises:
        TrainingError: An option is out of range.
    """

    class_reduction: ClassReduction = "sum"
    smooth: float = 1e-5
    epsilon: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        _check_choice("class_reduction", self.class_reduction, get_args(ClassReduction))
        for name in ("smooth", "epsilon"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                msg = f"{name} must be finite and above 0, got {value}"
                raise TrainingError(msg)
        if not 0 <= self.label_smoothing < 1:
            msg = f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            raise TrainingError(msg)


def check_implementation(implementation: str) -> None:
    """Refuse an implementation that there is not.

    Raises:
        TrainingError: It is neither `fused` nor `eager`.
    """
    _check_choice("implementation", implementation, get_args(Implementation))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{name} must be {' or '.join(repr(c) for c in choices)}, got {value!r}"
        raise TrainingError(msg)
