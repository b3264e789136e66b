"""Events: what a training tells while it runs, for whoever draws its progress."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from train.planning.plan import TrainingPlan
from train.training.log import EpochRecord


@dataclass(frozen=True)
class Started:
    """The loop begins, or goes on.

    Attributes:
        plan: What it will use.
        epochs_done: Epochs that an earlier call of the same command finished.
        device: Where it runs.
    """

    plan: TrainingPlan
    epochs_done: int
    device: torch.device


@dataclass(frozen=True)
class StepDone:
    """One batch was learnt from.

    Attributes:
        epoch: Counted from 1.
        step: In this epoch, counted from 1.
        steps: In this epoch.
        epochs: Of the training, as far as is known.
        loss: Of this batch.
        terms: Its terms by name, not weighted.
    """

    epoch: int
    step: int
    steps: int
    epochs: int
    loss: float
    terms: Mapping[str, float]


@dataclass(frozen=True)
class EpochDone:
    """One epoch was trained, logged and saved.

    Attributes:
        record: Its line of the log.
        cells: Validation Dice by dataset and class; empty without a validation.
        improved: Whether its checkpoint is the best so far.
    """

    record: EpochRecord
    cells: Mapping[tuple[str, str], float]
    improved: bool


@dataclass(frozen=True)
class Stopped:
    """A signal ended the training early, and it was saved.

    Attributes:
        epochs: Whole epochs so far.
        batches: Batches of the epoch beside them.
    """

    epochs: int
    batches: int


Event = Started | StepDone | EpochDone | Stopped
