"""Scores: how well a network, or any program, did on each case and class, and their means."""

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import pandas as pd
from pydantic import TypeAdapter

from manifests.ground.atomic import whole_file, write_text
from manifests.ground.errors import TrainingError
from train.scoring.metrics import METRICS, Metric

# compared: both hold voxels; missed: only the truth; invented: only the prediction; absent: neither
Detection = Literal["compared", "missed", "invented", "absent"]
CellName = tuple[str, str]  # class, dataset

COUNT_SEEN = "seen_cases_count"  # the key of the settings
EVALUATION = "evaluation"  # the folder of a run that holds those of its scores
ALL = "all"  # the mean over cells, where a class stands in other lines
SCORES_FILE, CELLS_FILE, SUMMARY_FILE = "scores.csv", "summary.csv", "summary.json"

_CLASS = {"class_name": "class"}  # Python keeps the word; a table's column may have it


@dataclass(frozen=True, kw_only=True)
class Score:
    """One class of one case, or one group of classes that the annotator did not tell apart.

    Attributes:
        class_id: The class, or the smallest of the group.
        class_name: Its name, or all of the group's joined by `+`; the column is called `class`.
        outcome: Which of truth and prediction hold voxels of it.
        dice: A metric as `measure` defines it, as all down to `nsd`; all are NaN if it is absent,
            and the distances the volume's diagonal if it is missed or invented.
    """

    dataset: str
    case_id: str
    class_id: int
    class_name: str
    outcome: Detection
    dice: float
    iou: float
    hausdorff_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    truth_ml: float
    prediction_ml: float


_SCORE = TypeAdapter(Score)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One class of one dataset: a column of the paper's tables, as in "liver in btcv".

    Means are over the cases that are not absent, NaN without any; deviations are those of a sample
    (n - 1), NaN below two cases.

    Attributes:
        class_name: The column is called `class`.
        missed: Those of them where only the truth holds voxels.
        invented: Those of them where only the prediction does.
        absent: Further cases, where neither does.
        mean: Of each metric; the columns are called `dice_mean` and so on.
    """

    class_name: str
    dataset: str
    cases: int
    missed: int
    invented: int
    absent: int
    mean: Mapping[Metric, float]
    std: Mapping[Metric, float]

    @property
    def row(self) -> dict[str, Any]:
        """Return the cell as a row of a table."""
        row = {_CLASS.get(k, k): v for k, v in asdict(self).items() if k not in ("mean", "std")}
        for metric in METRICS:
            row[f"{metric}_mean"], row[f"{metric}_std"] = self.mean[metric], self.std[metric]
        return row


@dataclass(frozen=True)
class Scores:
    """Scores of one network or program.

    Attributes:
        failures: Why a case could not be scored, by case id.
        settings: What was evaluated and how, as plain values.
        predictions: Where the label map of a case is kept, relative to the scores, by case id.
        notes: What was noticed about a label map, by case id.
        seen: Of cases that the network was trained on, as which case, by case id. They do not
            count in the means unless the settings say so.
    """

    scores: tuple[Score, ...]
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    predictions: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    seen: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def left_out(self) -> frozenset[str]:
        """Return the cases that do not count in the means: the network was trained on them."""
        return frozenset() if self.settings.get(COUNT_SEEN) else frozenset(self.seen)

    @property
    def stamp(self) -> str:
        """Return a short hash of the settings, which tells the rows of two evaluations apart."""
        plain = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    @property
    def rows(self) -> pd.DataFrame:
        """Return one row per score, with the stamp."""
        columns = list(Score.__dataclass_fields__)
        frame = pd.DataFrame(map(asdict, self.scores), columns=columns).rename(columns=_CLASS)
        if self.seen:
            frame = frame.assign(seen=frame["case_id"].isin(list(self.seen)))
        return frame.assign(stamp=self.stamp)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return counts and means by class and dataset."""
        groups: dict[tuple[int, str, str], list[Score]] = {}
        for score in (s for s in self.scores if s.case_id not in self.left_out):
            key = score.class_id, score.class_name, score.dataset
            groups.setdefault(key, []).append(score)
        return tuple(_cell(groups[key]) for key in sorted(groups))

    def means(self, metric: Metric) -> dict[CellName, float]:
        """Return the mean of a metric in each cell that has a scored case."""
        found = {(c.class_name, c.dataset): c.mean[metric] for c in self.cells}
        return {name: mean for name, mean in found.items() if not math.isnan(mean)}

    def mean(self, metric: Metric) -> float:
        """Return the mean over the cells, whatever their numbers of cases; NaN without any.

        Source: the column "All" of Shi et al. 2021, Tables 3 and 4.
        """
        means = self.means(metric).values()
        return fmean(means) if means else math.nan

    @property
    def mean_dice(self) -> float:
        """Return the mean Dice coefficient over the cells."""
        return self.mean("dice")


def scores_folder(run: Path, split: str, where: str | None = None) -> Path:
    """Return where a run keeps its scores on a split, or on those of its cases that are chosen."""
    chosen = f"-{hashlib.sha256(where.encode()).hexdigest()[:8]}" if where else ""
    return run / EVALUATION / f"{split}{chosen}"


def write_scores(scores: Scores, folder: Path) -> None:
    """Write `scores.csv` (per case), `summary.csv` and `summary.json`, each as a whole file.

    JSON has no NaN: a mean or deviation that does not exist is null.
    """
    cells = [cell.row for cell in scores.cells]
    for name, frame in {SCORES_FILE: scores.rows, CELLS_FILE: pd.DataFrame(cells)}.items():
        with whole_file(folder / name) as temporary:
            frame.to_csv(temporary, index=False)
    summary = {
        "mean": {metric: _or_none(scores.mean(metric)) for metric in METRICS},
        "cells": [{k: _or_none(v) for k, v in row.items()} for row in cells],
        "failures": dict(scores.failures),
        "notes": dict(scores.notes),
        "predictions": dict(scores.predictions),
        "seen": dict(scores.seen),
        "settings": dict(scores.settings),
    }
    write_text(folder / SUMMARY_FILE, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def read_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        TrainingError: The files are not there, are not whole, or are not of one evaluation.
    """
    try:
        with (folder / SCORES_FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        found = tuple(map(_score, rows))
        parts = (summary[k] for k in ("failures", "settings", "predictions", "notes"))
        scores = Scores(found, *parts, seen=summary.get("seen", {}))
        stamps = {row["stamp"] for row in rows}
    except (OSError, ValueError, TypeError, KeyError) as error:
        msg = f"no scores that can be read in {folder}: {error}; run `marginalia evaluate` first"
        raise TrainingError(msg) from error
    if stamps - {scores.stamp}:
        msg = (
            f"{folder}: scores.csv is stamped {', '.join(sorted(stamps))} and summary.json "
            f"{scores.stamp}, so they are of two evaluations; run `marginalia evaluate` again"
        )
        raise TrainingError(msg)
    return scores


def _score(row: Mapping[str, str]) -> Score:
    # not by pandas, which takes a case called 007 for a number, and a dataset called NA for none
    numbers = {name: row[name] or "nan" for name in (*METRICS, "truth_ml", "prediction_ml")}
    return _SCORE.validate_python({**row, "class_name": row["class"], **numbers})


def _cell(scores: Sequence[Score]) -> Cell:
    outcomes = [score.outcome for score in scores]
    scored = [score for score in scores if score.outcome != "absent"]
    values: dict[Metric, list[float]] = {
        metric: [getattr(s, metric) for s in scored] for metric in METRICS
    }
    return Cell(
        class_name=scores[0].class_name,
        dataset=scores[0].dataset,
        cases=len(scored),
        missed=outcomes.count("missed"),
        invented=outcomes.count("invented"),
        absent=outcomes.count("absent"),
        mean={m: fmean(found) if found else math.nan for m, found in values.items()},
        std={m: stdev(found) if len(found) > 1 else math.nan for m, found in values.items()},
    )


def _or_none(value: Any) -> Any:  # noqa: ANN401
    return None if isinstance(value, float) and math.isnan(value) else value
