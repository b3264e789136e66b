"""Resuming: where a run's last checkpoint goes on, if it is the same training."""

from pathlib import Path

from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.checkpoints.header import CheckpointHeader
from train.checkpoints.restoration import (
    restore_average,
    restore_network,
    restore_objective,
    restore_optimiser,
)
from train.planning.plan import TrainingPlan
from train.settings import EXECUTION_SETTINGS
from train.training.learner import Learner


def resume(plan: TrainingPlan, run: Path, learner: Learner, *, force: bool) -> CheckpointHeader:
    """Give a learner the state of a run's last checkpoint, if there is one.

    Args:
        plan: What is asked for now.
        run: The run's folder.
        learner: As it was built anew.
        force: Whether the manifest may be another.

    Returns:
        The header to go on from: that of the checkpoint, or that of a new run.

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
    restore_objective(checkpoint, learner.objective)
    if learner.average:
        restore_average(checkpoint, learner.average.module)
        learner.average.n_averaged.fill_(1)  # not to begin anew with the next weights
    now = ("settings", "label_space", "manifest_sha256")
    return checkpoint.header.model_copy(update={key: getattr(header, key) for key in now})


def _require_same(
    found: CheckpointHeader, asked: CheckpointHeader, run: Path, *, force: bool
) -> None:
    """Refuse to go on with another training than the one that was begun."""
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
