"""The folder of a run: one training at a time, and the files in it that are for people."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from manifests.ground.alone import alone
from manifests.ground.atomic import clear_partial
from train.checkpoints.checkpoint import CheckpointHeader, checkpoint_path
from train.planning.plan import TrainingPlan
from train.planning.schedule import Stages
from train.scoring.model_card import write_model_card
from train.training.curves import write_curves
from train.training.log import EpochRecord, Tell, complete_log
from train.training.processes import is_rank_zero


@contextmanager
def only_training(run: Path) -> Generator[None]:
    """Keep other trainings out of a folder, and remove what killed ones left half written.

    The first process does so before it starts the others.

    Raises:
        InUseError: Another training is at work there.
        MarginaliaError: Nothing can be written there.
    """
    if not is_rank_zero():
        yield
        return
    with alone(run, command="train"):
        for folder in (run, checkpoint_path(run, "last").parent):
            clear_partial(folder)
        yield


def mend_log(run: Path, plan: TrainingPlan, header: CheckpointHeader, tell: Tell) -> None:
    """Give a log that is missing or damaged what the last checkpoint knows of each epoch."""
    stages, step = Stages.of(header.settings, header.added_epochs), 0
    done: list[EpochRecord] = []
    for number, loss in enumerate(header.losses):
        stage = stages.of_epoch(number)
        step += plan.steps(stage)
        done.append(EpochRecord.known(number + 1, stage, step, loss))
    complete_log(run, done, tell=tell)


def tell_people(run: Path, tell: Tell) -> None:
    """Draw the curves of a run that is finished, and write its model card."""
    draw_curves(run, tell)
    try:
        write_model_card(run)
    except OSError as error:
        tell(f"the model card cannot be written: {error}")


def draw_curves(run: Path, tell: Tell) -> None:
    """Draw the curves of a run that is finished."""
    try:
        write_curves(run)
    except OSError as error:
        tell(f"the curves cannot be drawn: {error}")
