"""Runs that were evaluated: their scores, and the label maps that were scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from train.prediction.sliding_window import ClassVolume
from train.scoring.evaluate import FOLDER, scores_folder
from train.scoring.label_maps import read_label_map
from train.scoring.label_values import LabelValues
from train.scoring.scores import SCORES_FILE, Scores, read_scores


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        name: What it is called beside others.
        folder: Its scores.
        scores: What they say.
    """

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
        folder = _scores_of(Path(path), split)
        name = given or _name_of(folder)
        if name in runs:
            msg = (
                f"two runs are called {name!r}: {runs[name].folder} and {folder}; name them, as in "
                f"first={path}"
            )
            raise TrainingError(msg)
        runs[name] = Run(name, folder, read_scores(folder))
    return list(runs.values())


def kept_prediction(run: Run, case: Case) -> ClassVolume | None:
    """What was scored of a case: class ids on its grid; none if it is no longer there.

    Raises:
        TrainingError: The file is no longer what it was.
    """
    kept = run.scores.predictions.get(case.case_id)
    path = run.folder / kept if kept else None
    if path is None or not path.is_file():
        return None
    own = {n: n for n in range(len(case.merged))}
    listed = run.scores.settings.get("prediction", {}).get("values")
    class_of = {int(value): n for value, n in listed.items()} if listed else own
    classes, _ = read_label_map(path, case, LabelValues(class_of))
    return classes


def _scores_of(folder: Path, split: str) -> Path:
    return folder if (folder / SCORES_FILE).is_file() else scores_folder(folder, split)


def _name_of(folder: Path) -> str:
    folder = folder.resolve()
    return folder.parents[1].name if folder.parent.name == FOLDER else folder.name
