"""What each epoch does: its stage and learning rate, as pure functions of what was so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from train.settings import TrainSettings

Stage = Literal[1, 2]

_POLY_POWER = 0.9
_PLATEAU_FACTOR = 0.8
_PLATEAU_EPOCHS = 10
_PLATEAU_REDUCTION = 1e-3


@dataclass(frozen=True)
class Stages:
    """The epochs of both stages.

    Attributes:
        first: Of the first stage, as the settings have them.
        second: Of the second stage.
        added: To the first stage, which had not learnt every class.
    """

    first: int
    second: int
    added: int = 0

    @classmethod
    def of(cls, settings: TrainSettings, added: int = 0) -> "Stages":
        """The stages of a training."""
        return cls(*settings.stage_epochs, added)

    @property
    def epochs(self) -> int:
        """Epochs of both."""
        return self.first + self.added + self.second

    def of_epoch(self, epoch: int) -> Stage:
        """The stage that an epoch belongs to, counted from 0.

        Source: section 4.4.
        """
        return 1 if epoch < self.first + self.added else 2

    def first_ends(self, epochs: int) -> bool:
        """Whether the first stage has no epoch left, and another one follows."""
        return bool(self.first and self.second) and epochs == self.first + self.added


def extend_first_stage(
    stages: Stages, settings: TrainSettings, epochs: int, cells: Mapping[tuple[str, str], float]
) -> Stages:
    """The stages, the first of them longer if it ends here and a class has not been learnt.

    A class that the first stage leaves unlearnt hears in the second, from most cases, only where it
    is not, and may stay unlearnt. So the stage goes on, epoch by epoch, to the next validation.

    Args:
        stages: So far.
        settings: The training's.
        epochs: That are done.
        cells: Validation Dice by dataset and class; empty if there was no validation.
    """
    if not stages.first_ends(epochs) or stages.added == stages.first:
        return stages
    learnt = _least_dice(cells) >= settings.first_stage_dice if cells else not stages.added
    return stages if learnt else replace(stages, added=stages.added + 1)


def _least_dice(cells: Mapping[tuple[str, str], float]) -> float:
    """That of the class whose mean over datasets is the least."""
    dice: dict[str, list[float]] = {}
    for (_, name), score in cells.items():
        dice.setdefault(name, []).append(score)
    return min(map(fmean, dice.values()))


def learning_rate(
    settings: TrainSettings, stages: Stages, losses: Sequence[float], steps: tuple[int, int]
) -> float:
    """The rate of the epoch that comes after the epochs whose mean losses are `losses`.

    Args:
        settings: The schedule.
        stages: Of the training; `poly` stands still in epochs that were added.
        losses: Mean loss of each epoch so far.
        steps: Batches in an epoch of the first and of the second stage. An epoch of the union is
            several times as long as one of the fully labelled dataset, and `poly` counts by it.

    Source: section 4.4 (`plateau`); nnU-Net (`poly`).
    """
    if settings.schedule == "poly":
        first = min(len(losses), stages.first)
        second = max(len(losses) - stages.first - stages.added, 0)
        done = first * steps[0] + second * steps[1]
        total = stages.first * steps[0] + stages.second * steps[1]
        return settings.learning_rate * (1 - done / total) ** _POLY_POWER
    # the second stage has other losses: what it falls from starts anew, the rate goes on
    first = stages.first + stages.added
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
