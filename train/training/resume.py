"""Resuming from a run's last checkpoint, if it is the same training."""

from pathlib import Path

from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import (
    AVERAGE,
    OBJECTIVE,
    CheckpointHeader,
    checkpoint_path,
    load_checkpoint,
)
from train.checkpoints.restoration import restore_network, restore_optimiser
from train.planning.plan import TrainingPlan
from train.settings import EXECUTION_SETTINGS
from train.training.learner import Learner


def resume(plan: TrainingPlan, run: Path, learner: Learner, *, force: bool) -> CheckpointHeader:
    """Copy a run's last checkpoint, if there is one, into a learner; return the header to resume.

    That is the header of the checkpoint, or of a new run. With `force`, the manifest may be
    another than that of the checkpoint.

    Raises:
        TrainingError: The run is another training.
        CheckpointError: The checkpoint is damaged.
    """
    path = checkpoint_path(run, "last")
    header = CheckpointHeader(
        label_space=plan.label_space,
        settings=plan.settings,
        normalisation=plan.normalisation,
        spacing_mm=plan.spacing_mm,
        interpolation=plan.interpolation,
        manifest_sha256=plan.manifest_sha256,
        losses=(),
        step=0,
        best_score=None,
    )
    if not path.exists():
        return header
    checkpoint = load_checkpoint(path)
    _require_same(checkpoint.header, header, run, force=force)
    restore_network(checkpoint, learner.network)
    restore_optimiser(checkpoint, learner.optimiser, learner.network)
    restore_network(checkpoint, learner.objective, prefix=OBJECTIVE)
    if learner.average:
        restore_network(checkpoint, learner.average.module, prefix=AVERAGE)
        learner.average.n_averaged.fill_(1)  # else the next update would start a new average
    now = ("settings", "label_space", "interpolation", "manifest_sha256")
    return checkpoint.header.model_copy(update={key: getattr(header, key) for key in now})


def _require_same(
    found: CheckpointHeader, asked: CheckpointHeader, run: Path, *, force: bool
) -> None:
    """Refuse to resume another training than the one that was started."""
    old, new = found.settings.model_dump(), asked.settings.model_dump()
    keys = [k for k in new if old[k] != new[k] and k not in EXECUTION_SETTINGS]
    differences = [f"{k}: was {old[k]}, is {new[k]}" for k in keys]
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
