"""Results: what `marginalia evaluate` wrote of a network, for its report."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from manifests.ground.errors import ManifestError
from manifests.report.planes import Labels
from manifests.volumes.volume import read_volume

SCORES_FILE, SUMMARY_FILE = "scores.csv", "summary.json"
EVALUATION = "evaluation"


@dataclass(frozen=True)
class Results:
    """The scores of one evaluation.

    Attributes:
        folder: Paths of label maps are relative to it.
        dice: Of each group of classes, by its name, by case id; NaN where neither truth nor
            prediction hold it.
        label_maps: Path of the label map that was scored, by case id.
        values: The class id of each value of the label maps; None if they are class ids.
    """

    folder: Path
    dice: Mapping[str, Mapping[str, float]]
    label_maps: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[int, int] | None = None

    def prediction(self, case_id: str, size: tuple[int, ...]) -> Labels | None:
        """Return the class ids that were scored of a case; None if they were not kept.

        A label map lies as its case does, with axes along LPS, if `evaluate` wrote it itself; those
        of another program are drawn only where they lie so too.
        """
        kept = self.label_maps.get(case_id)
        if kept is None or not (path := self._inside(kept)).is_file():
            return None
        voxels = read_volume(path).voxels.T
        if voxels.shape != size:
            return None
        if self.values is None:
            return voxels.astype(np.uint8)
        classes = np.zeros(size, np.uint8)
        for value, n in self.values.items():
            classes[voxels == value] = n
        return classes

    def state(self, case_id: str) -> str:
        """Return what changes when a case's label map does: its path, size and time of change."""
        kept = self.label_maps.get(case_id)
        if kept is None or not (path := self._inside(kept)).is_file():
            return str(self.folder)
        found = path.stat()
        return f"{path} {found.st_size} {found.st_mtime_ns}"

    def _inside(self, relative: str) -> Path:
        pure = PurePosixPath(relative)
        return self.folder / (pure.name if pure.is_absolute() or ".." in pure.parts else pure)


def read_results(run: Path, split: str = "test") -> Results:
    """Read the scores of a run.

    Args:
        run: The folder of a run, with its scores in `evaluation/<split>`, or of the scores.
        split: The split that was evaluated.

    Raises:
        ManifestError: There are no scores, or they cannot be read.
    """
    folder = run if (run / SCORES_FILE).is_file() else run / EVALUATION / split
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        dice: dict[str, dict[str, float]] = {}
        with (folder / SCORES_FILE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                dice.setdefault(row["case_id"], {})[row["class"]] = float(row["dice"] or "nan")
        listed = summary["settings"].get("prediction", {}).get("values")
        values = {int(v): int(n) for v, n in listed.items()} if listed else None
        return Results(folder, dice, summary["predictions"], values)
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        msg = (
            f"{folder}: expected the scores of an evaluation, {SCORES_FILE} and {SUMMARY_FILE}; "
            f"got {error!r}: run marginalia evaluate first, or name its folder"
        )
        raise ManifestError(msg) from error
