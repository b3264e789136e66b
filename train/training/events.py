"""Events: what a training reports while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from train.checkpoints.transfer import Transfer
from train.planning.plan import TrainingPlan
from train.training.log import EpochRecord


@dataclass(frozen=True)
class Started:
    """A training starts, or resumes after `epochs_done` epochs.

    `taken` is what it took from another run's weights, if it begins with them.
    """

    plan: TrainingPlan
    epochs_done: int
    device: torch.device
    taken: Transfer | None = None


@dataclass(frozen=True)
class StepDone:
    """One batch was learnt from; epoch and step in the epoch are counted from 1.

    Attributes:
        epochs: Epochs of the training, as far as is known.
        terms: Terms of the loss by name, not weighted.
    """

    epoch: int
    step: int
    steps: int
    epochs: int
    loss: float
    terms: Mapping[str, float]


@dataclass(frozen=True)
class EpochDone:
    """One epoch was trained, logged and saved, as the best so far if `improved`.

    `cells` is the validation Dice by dataset and class, empty without a validation.
    """

    record: EpochRecord
    cells: Mapping[tuple[str, str], float]
    improved: bool


@dataclass(frozen=True)
class Stopped:
    """A signal ended the training, which was saved after so many whole epochs and more batches."""

    epochs: int
    batches: int


@dataclass(frozen=True)
class Remark:
    """Something that the user should know, and that does not end the training."""

    words: str


Event = Started | StepDone | EpochDone | Stopped | Remark
