"""When nnU-Net's training leaves the fully labelled cases and goes on with all cases."""

from collections.abc import Sequence
from math import isnan

FRACTION = 0.3  # of the epochs, as in the paper's 60 of 200
LEAST_DICE = 0.1  # as `first_stage_dice` of our own trainer


def in_first_stage(epoch: int, epochs: int, dice: Sequence[Sequence[float]]) -> bool:
    """Tell whether an epoch trains on fully labelled cases only.

    In the second stage most cases teach a class only where it is not, so that a class that was not
    learnt before may never be. The first stage therefore takes 30 % of the epochs, and goes on for
    up to as many again until every class was found in validation.

    Args:
        epoch: Counted from 0.
        epochs: Of the whole training.
        dice: The online Dice of each class in each epoch before this one; not a number where no
            validation patch was of a case that annotates the class.
    """
    planned = round(FRACTION * epochs)
    if epoch < planned or epoch >= 2 * planned:
        return epoch < planned
    return not any(_is_learnt(dice[:done]) for done in range(planned, epoch + 1))


def _is_learnt(dice: Sequence[Sequence[float]]) -> bool:
    """Tell whether every class that was measured had a high enough Dice when it was last."""
    last: dict[int, float] = {}
    for values in dice:
        last |= {n: value for n, value in enumerate(values) if not isnan(value)}
    return all(value >= LEAST_DICE for value in last.values())
