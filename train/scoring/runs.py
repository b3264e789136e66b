"""Evaluated runs: their scores, the label maps that were scored, and pictures of these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.ground.errors import TrainingError
from manifests.ground.near_names import did_you_mean
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from train.checkpoints.fold_folders import fold_folders
from train.scoring.scores import EVALUATION, SCORES_FILE, Scores, read_scores, scores_folder

if TYPE_CHECKING:
    from train.prediction.sliding_window import ClassVolume


@dataclass(frozen=True)
class Run:
    """One evaluation; its name tells it from the others that it is compared with."""

    name: str
    folder: Path
    scores: Scores


def open_runs(words: Sequence[str], *, split: str) -> list[Run]:
    """Read the scores of runs.

    Args:
        words: Each the folder of a run (with its scores in `evaluation/<split>`) or of scores;
            `NAME=FOLDER` gives it another name than the run's folder has.
        split: The split whose scores are wanted.

    Raises:
        TrainingError: A folder has no scores, or two runs have one name.
    """
    runs: dict[str, Run] = {}
    for word in words:
        given, _, path = ("", "", word) if Path(word).exists() else word.rpartition("=")
        folder = Path(path)
        if not folder.exists():
            beside = (p.name for p in folder.parent.glob("*/"))
            msg = (
                f"no run at {folder}{did_you_mean(folder.name, beside)}: expected the folder of a "
                f"run, or of scores"
            )
            raise TrainingError(msg)
        if not (folder / SCORES_FILE).is_file():
            folder = scores_folder(folder, split)
        name = given or _run_name(folder.resolve())
        if name in runs:
            msg = (
                f"two runs are called {name!r}: {runs[name].folder} and {folder}; name them, as in "
                f"first={path}"
            )
            raise TrainingError(msg)
        runs[name] = Run(name, folder, _scores(Path(path), folder, split))
    return list(runs.values())


def _scores(run: Path, folder: Path, split: str) -> Scores:
    """Return the scores of a run; of a cross-validation, those of its folds together.

    Raises:
        TrainingError: They cannot be read, or a case was scored in several folds.
    """
    folds = fold_folders(run)
    if not folds or (folder / SCORES_FILE).is_file():
        return read_scores(folder)
    parts = [read_scores(scores_folder(fold, split)) for fold in folds]
    cases = [case_id for part in parts for case_id in {s.case_id for s in part.scores}]
    if len(cases) != len(set(cases)):
        msg = (
            f"{run}: the folds were scored on common cases, and so are no parts of one run; score "
            f"their ensemble with `marginalia evaluate {run} MANIFEST --split {split}`"
        )
        raise TrainingError(msg)
    joined = {"failures": {}, "predictions": {}, "notes": {}, "seen": {}}
    for fold, part in zip(folds, parts, strict=True):
        place = scores_folder(fold, split).resolve()
        joined["failures"] |= part.failures
        joined["notes"] |= part.notes
        joined["seen"] |= part.seen
        joined["predictions"] |= {c: str(place / file) for c, file in part.predictions.items()}
    settings = {
        **parts[0].settings,
        "cases": {k: v for part in parts for k, v in part.settings["cases"].items()},
    }
    return Scores(tuple(s for part in parts for s in part.scores), settings=settings, **joined)


def draw_run(run: Run, manifest: Manifest) -> Iterator[str]:
    """Draw each case whose label map a run has kept, and say for which of them it failed."""
    from train.pictures.overlays import overlay_paths  # slow to import

    case_ids = {*manifest.case_ids(), *run.scores.predictions}
    pictures = overlay_paths(run.folder / "overlays", case_ids)
    for case_id in run.scores.predictions:
        if problem := draw_case(case_id, [run], manifest, pictures[case_id]):
            yield problem


def draw_case(
    case_id: str,
    runs: Sequence[Run],
    manifest: Manifest,
    path: Path,
    *,
    title: str = "",
    focus: int | None = None,
) -> str:
    """Draw a case and what runs predicted of it.

    Returns:
        Why there is no picture; empty if there is one.
    """
    from train.pictures.overlays import case_overlay, write_overlay  # slow to import
    from train.prediction.scan import reason_of

    try:
        case = manifest.case(case_id)
        kept = {run.name: _kept_prediction(run, case) for run in runs}
        shown = {name: classes for name, classes in kept.items() if classes is not None}
        if not shown:
            return f"no picture  {case_id}: no run has kept its label map"
        write_overlay(case_overlay(manifest, case, shown, title=title, focus=focus), path)
    except Exception as error:
        return f"no picture  {case_id}: {reason_of(error)}"
    return ""


def _kept_prediction(run: Run, case: Case) -> "ClassVolume | None":
    """Return the class ids that were scored of a case; None if their file is not there."""
    from train.scoring.label_mapping import LabelMapping, identity_mapping  # slow to import
    from train.scoring.label_maps import read_label_map

    kept = run.scores.predictions.get(case.case_id)
    if kept is None or not (run.folder / kept).is_file():
        return None
    listed = run.scores.settings.get("prediction", {}).get("values")
    mapping = identity_mapping(len(case.merged))
    if listed:
        mapping = LabelMapping({int(value): n for value, n in listed.items()})
    classes, _ = read_label_map(run.folder / kept, case, mapping)
    return classes


def _run_name(folder: Path) -> str:
    return folder.parents[1].name if folder.parent.name == EVALUATION else folder.name
