"""Cross-validation: a training for each fold of a manifest, in folders of one run."""

from pathlib import Path

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.checkpoints.fold_folders import fold_folder
from train.settings import TrainSettings
from train.training.processes import Processes


def fold_runs(
    manifest: Manifest, run: Path, settings: TrainSettings, processes: Processes
) -> dict[Path, TrainSettings]:
    """Return the folder and the settings of the training of each fold, in their order.

    Raises:
        TrainingError: A single fold is asked for too, the manifest has no folds, or the trainings
            would take several processes.
    """
    dealt = manifest.table["fold"].unique().to_pylist()
    folds = sorted(fold for fold in dealt if fold is not None)
    problem = ""
    if settings.fold is not None:
        problem = f"all folds are asked for, and fold {settings.fold}: leave out one of the two"
    elif not folds:
        problem = "the manifest has no folds; deal them with `marginalia split --folds 5`"
    elif processes.count > 1:
        problem = (
            "all folds are asked for on several devices, which must be started anew for each: "
            "train them one after the other with --fold 0 --out RUN/fold_0 and so on"
        )
    if problem:
        raise TrainingError(problem)
    return {fold_folder(run, fold): settings.model_copy(update={"fold": fold}) for fold in folds}
