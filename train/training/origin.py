"""Origin: what a training goes on from, which is its own last checkpoint or another run's."""

from dataclasses import dataclass, replace
from pathlib import Path

from train.checkpoints.checkpoint import Checkpoint, CheckpointHeader
from train.checkpoints.transfer import Transfer
from train.planning.plan import TrainingPlan
from train.training.first_stage import load_first_stage, take_first_stage, write_first_stage
from train.training.learner import Learner
from train.training.log import Tell
from train.training.resume import last_checkpoint, new_header, resume
from train.training.start import Start, begin_with, load_init, with_scale_of, write_transfer


@dataclass(frozen=True)
class Origin:
    """The checkpoints that a training was given; of those that are there, the first one counts.

    Attributes:
        last: The run's own.
        first_stage: Where another run stood at the end of its first stage.
        init: Whose weights it began with.
    """

    last: Checkpoint | None
    first_stage: Checkpoint | None
    init: Checkpoint | None

    @property
    def known(self) -> Checkpoint | None:
        """Return the one that counts; None if the training begins with new weights."""
        return self.last or self.first_stage or self.init


def find_origin(run: Path, start: Start) -> Origin:
    """Read what a training goes on from.

    Raises:
        CheckpointError: It is not there, or damaged.
    """
    init, last = load_init(start), last_checkpoint(run)
    source = None if last else start.first_stage_of
    return Origin(last, load_first_stage(source) if source else None, init)


def planned_from(origin: Origin, plan: TrainingPlan) -> TrainingPlan:
    """Return a plan with the image scale of its origin, and what that has learnt.

    Raises:
        TrainingError: The cases have another spacing.
    """
    if not origin.known:
        return plan
    scaled = with_scale_of(plan, origin.known.header)
    return replace(scaled, earlier=origin.known.learnt)


def set_out(
    origin: Origin, plan: TrainingPlan, learner: Learner, *, force: bool
) -> tuple[CheckpointHeader, Transfer | None]:
    """Copy an origin into a new learner; return the header to go on with, and what `init` gave.

    Raises:
        TrainingError: It is another training, or nothing fits.
        CheckpointError: The checkpoint does not fit.
    """
    header = new_header(plan, origin.init)
    if origin.last:
        return resume(origin.last, header, learner, force=force), None
    if origin.first_stage:
        return take_first_stage(origin.first_stage, header, learner, plan), None
    return header, begin_with(origin.init, plan, learner) if origin.init else None


def write_origin(
    run: Path,
    origin: Origin,
    plan: TrainingPlan,
    header: CheckpointHeader,
    *,
    taken: Transfer | None,
    tell: Tell,
) -> None:
    """Write what a new run took from another one.

    Raises:
        CheckpointError: It cannot be written.
    """
    if origin.first_stage and not origin.last:
        write_first_stage(origin.first_stage, header, plan, run, tell=tell)
    if origin.init and taken:
        write_transfer(run, origin.init, taken)
