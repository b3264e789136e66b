"""The learning rate of each epoch, as a pure function of the losses so far."""

from collections.abc import Sequence
from typing import Literal

from train.settings import TrainSettings

Stage = Literal[1, 2]

_POLY_POWER = 0.9
_PLATEAU_FACTOR = 0.8
_PLATEAU_EPOCHS = 10
_PLATEAU_REDUCTION = 1e-3


def stage_of(epoch: int, settings: TrainSettings) -> Stage:
    """The stage that an epoch belongs to, counted from 0.

    Source: section 4.4.
    """
    return 1 if epoch < settings.stage_epochs[0] else 2


def learning_rate(
    settings: TrainSettings, losses: Sequence[float], steps: tuple[int, int]
) -> float:
    """The rate of the epoch that comes after the epochs whose mean losses are `losses`.

    Args:
        settings: The schedule, and the epochs of both stages.
        losses: Mean loss of each epoch so far.
        steps: Batches in an epoch of the first and of the second stage. An epoch of the union is
            several times as long as one of the fully labelled dataset, and `poly` counts by it.

    Source: section 4.4 (`plateau`); nnU-Net (`poly`).
    """
    if settings.schedule == "poly":
        first = min(len(losses), settings.stage_epochs[0])
        done = first * steps[0] + (len(losses) - first) * steps[1]
        total = sum(n * s for n, s in zip(settings.stage_epochs, steps, strict=True))
        return settings.learning_rate * (1 - done / total) ** _POLY_POWER
    # the second stage has other losses: what it falls from starts anew, the rate goes on
    first = settings.stage_epochs[0]
    stalls = _stalls(losses[:first]) + _stalls(losses[first:])
    return settings.learning_rate * _PLATEAU_FACTOR**stalls


def _stalls(losses: Sequence[float]) -> int:
    """How often ten epochs went by without the loss falling by 1e-3."""
    stalls, waited, best = 0, 0, float("inf")
    for loss in losses:
        fell = loss <= best - _PLATEAU_REDUCTION
        best, waited = (loss, 0) if fell else (best, waited + 1)
        if waited == _PLATEAU_EPOCHS:
            stalls, waited = stalls + 1, 0
    return stalls
