"""Resuming from a run's last checkpoint, if it is the same training."""

from pathlib import Path

from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import (
    AVERAGE,
    OBJECTIVE,
    Checkpoint,
    CheckpointHeader,
    checkpoint_path,
    load_checkpoint,
)
from train.checkpoints.restoration import restore_network, restore_optimiser
from train.planning.plan import TrainingPlan
from train.settings import EXECUTION_SETTINGS
from train.training.learner import Learner


def last_checkpoint(run: Path) -> Checkpoint | None:
    """Return a run's last checkpoint; None if it has none yet.

    Raises:
        CheckpointError: It is damaged.
    """
    path = checkpoint_path(run, "last")
    return load_checkpoint(path) if path.exists() else None


def new_header(plan: TrainingPlan, init: Checkpoint | None) -> CheckpointHeader:
    """Return the header of a run that is to begin, with new weights or those of `init`."""
    return CheckpointHeader(
        label_space=plan.label_space,
        settings=plan.settings,
        normalisation=plan.normalisation,
        spacing_mm=plan.spacing_mm,
        interpolation=plan.interpolation,
        manifest_sha256=plan.manifest_sha256,
        losses=(),
        step=0,
        best_score=None,
        init=init.sha256 if init else "",
    )


def resume(
    checkpoint: Checkpoint, asked: CheckpointHeader, learner: Learner, *, force: bool
) -> CheckpointHeader:
    """Copy a run's last checkpoint into a learner; return the header to resume.

    Args:
        checkpoint: The run's last.
        asked: The header of the training that is asked for.
        learner: It is changed in place.
        force: The manifest may be another than that of the checkpoint.

    Raises:
        TrainingError: The run is another training.
        CheckpointError: The checkpoint does not fit.
    """
    _require_same(checkpoint, asked, force=force)
    restore_learner(checkpoint, learner)
    now = ("settings", "label_space", "interpolation", "manifest_sha256")
    return checkpoint.header.model_copy(update={key: getattr(asked, key) for key in now})


def restore_learner(checkpoint: Checkpoint, learner: Learner) -> None:
    """Copy all that a checkpoint holds of a training into a learner.

    Raises:
        CheckpointError: It does not fit.
    """
    restore_network(checkpoint, learner.network)
    restore_optimiser(checkpoint, learner.optimiser, learner.network)
    restore_network(checkpoint, learner.objective, prefix=OBJECTIVE)
    if learner.average:
        restore_network(checkpoint, learner.average.module, prefix=AVERAGE)
        learner.average.n_averaged.fill_(1)  # else the next update would start a new average


def _require_same(checkpoint: Checkpoint, asked: CheckpointHeader, *, force: bool) -> None:
    """Refuse to resume another training than the one that was started."""
    found, run = checkpoint.header, checkpoint.path.parents[1]
    old, new = found.settings.model_dump(), asked.settings.model_dump()
    keys = [k for k in new if old[k] != new[k] and k not in EXECUTION_SETTINGS]
    if "stage_epochs" in keys and _is_longer(found, asked.settings.stage_epochs):
        keys.remove("stage_epochs")
    differences = [f"{k}: was {old[k]}, is {new[k]}" for k in keys]
    if asked.init and asked.init != found.init:
        began = "with the weights of another checkpoint" if found.init else "with new weights"
        differences.append(f"--init: the run began {began}")
    if found.label_space != asked.label_space:
        differences.append("the label space")
    elif found.manifest_sha256 != asked.manifest_sha256 and not force:
        differences.append(
            "the manifest's cases, splits, labels or merged classes (--force resumes anyway)"
        )
    if differences:
        msg = (
            f"{run} holds another training, which cannot be resumed; it differs in "
            f"{'; '.join(differences)}; repeat its command as it was, or choose another folder"
        )
        raise TrainingError(msg)


def _is_longer(found: CheckpointHeader, stage_epochs: tuple[int, int]) -> bool:
    """Return whether a run can go on to these epochs: no stage is shorter, or over already."""
    (first, second), (first_now, second_now) = found.settings.stage_epochs, stage_epochs
    in_first = found.epochs <= first + found.added_epochs
    return second_now >= second and (first_now == first or (in_first and first_now > first))
