"""Schedule: the stage and the learning rate of each epoch, from the epochs before it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeVar

from train.settings import TrainSettings

Stage = Literal[1, 2]
Key = TypeVar("Key")

_POLY_POWER = 0.9  # nnU-Net's PolyLRScheduler
# section 4.4: the rate falls by 20 % where the loss does not fall by 1e-3 in 10 epochs
_PLATEAU_FACTOR = 0.8
_PLATEAU_EPOCHS = 10
_PLATEAU_REDUCTION = 1e-3


@dataclass(frozen=True)
class Stages:
    """The epochs of both stages, and those added to the first, which had not learnt every class."""

    first: int
    second: int
    added: int = 0

    @classmethod
    def of(cls, settings: TrainSettings, added: int = 0) -> "Stages":
        """Return the stages of a training."""
        return cls(*settings.stage_epochs, added)

    @property
    def epochs(self) -> int:
        """Return the epochs of both."""
        return self.first + self.added + self.second

    def of_epoch(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0 (section 4.4)."""
        return 1 if epoch < self.first + self.added else 2


def extend_first_stage(
    stages: Stages, settings: TrainSettings, epochs: int, cells: Mapping[tuple[str, str], float]
) -> Stages:
    """Return the stages, with one more epoch in the first if it ends with a class not learnt.

    In the second stage, most cases teach a class only where it is not, so that it may never be
    learnt. So the first stage continues, epoch by epoch, to the next validation.

    `cells` is the validation Dice by dataset and class after so many epochs, empty without a
    validation.
    """
    ends = stages.first and stages.second and epochs == stages.first + stages.added
    if not ends or stages.added == stages.first:
        return stages
    classes = means_by_key((name, dice) for (_, name), dice in cells.items())
    least = min(classes.values(), default=None)
    learnt = not stages.added if least is None else least >= settings.first_stage_dice
    return stages if learnt else replace(stages, added=stages.added + 1)


def means_by_key(scores: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Return the mean of each key's scores, in the order in which the keys appear."""
    found: dict[Key, list[float]] = {}
    for key, score in scores:
        found.setdefault(key, []).append(score)
    return {key: fmean(values) for key, values in found.items()}


def learning_rate(
    settings: TrainSettings, stages: Stages, losses: Sequence[float], steps: tuple[int, int]
) -> float:
    """Return the learning rate of the next epoch.

    Args:
        settings: The schedule.
        stages: `poly` does not decrease in epochs that were added.
        losses: Mean loss of each epoch so far.
        steps: Batches in an epoch of the first and of the second stage. `poly` counts batches: an
            epoch of the union is several times as long as one of the fully labelled dataset.

    Source: section 4.4 (`plateau`); nnU-Net (`poly`).
    """
    if settings.schedule == "poly":
        first = min(len(losses), stages.first)
        second = max(len(losses) - stages.first - stages.added, 0)
        done = first * steps[0] + second * steps[1]
        total = stages.first * steps[0] + stages.second * steps[1]
        return settings.learning_rate * (1 - done / total) ** _POLY_POWER
    # losses of the second stage are not compared with those of the first; the rate continues
    first = stages.first + stages.added
    stalls = _stalls(losses[:first]) + _stalls(losses[first:])
    return settings.learning_rate * _PLATEAU_FACTOR**stalls


def exclusion_share(settings: TrainSettings, stages: Stages, epochs: int) -> float:
    """Return the share of the exclusion weight in the next epoch, after so many epochs.

    In epoch k of the second stage, counted from 1, it is k over the epochs of the ramp, at most 1.
    """
    ramp = settings.exclusion_ramp * stages.second
    epoch = epochs - stages.first - stages.added + 1
    return min(1.0, epoch / ramp) if ramp and epoch > 0 else 1.0


def _stalls(losses: Sequence[float]) -> int:
    """Return how often ten epochs passed without the loss falling by 1e-3."""
    stalls, waited, best = 0, 0, float("inf")
    for loss in losses:
        fell = loss <= best - _PLATEAU_REDUCTION
        best, waited = (loss, 0) if fell else (best, waited + 1)
        if waited == _PLATEAU_EPOCHS:
            stalls, waited = stalls + 1, 0
    return stalls
