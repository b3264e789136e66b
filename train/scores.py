"""Scores: how well a network did on each case and class, and what that comes to."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import pandas as pd
from pydantic import TypeAdapter

from manifests.atomic import whole_file, write_text
from manifests.errors import TrainingError

Metric = Literal["dice", "hausdorff_mm", "hd95_mm"]
METRICS: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm")

# compared: both hold voxels; missed: only the truth; invented: only the prediction; absent: neither
Outcome = Literal["compared", "missed", "invented", "absent"]
CellName = tuple[str, str]  # class, dataset

_CLASS = {"class_name": "class"}  # Python keeps the word; a table's column may have it


@dataclass(frozen=True, kw_only=True)
class Score:
    """One class of one case.

    Attributes:
        dataset: The case's.
        case_id: The case's.
        class_id: The class.
        class_name: Its name; the column is called `class`.
        outcome: Which of truth and prediction hold voxels of it.
        dice: 0 to 1; NaN if absent.
        hausdorff_mm: The Hausdorff distance; the volume's diagonal if missed or invented, NaN if
            absent.
        hd95_mm: The greater of the directed 95th percentiles, likewise.
        truth_ml: Volume that is labelled.
        prediction_ml: Volume that is predicted.
    """

    dataset: str
    case_id: str
    class_id: int
    class_name: str
    outcome: Outcome
    dice: float
    hausdorff_mm: float
    hd95_mm: float
    truth_ml: float
    prediction_ml: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One class of one dataset: a column of the paper's tables, as in "liver in btcv".

    Means are over the cases that are not absent, NaN without any; deviations are those of a sample
    (n - 1), NaN below two cases.

    Attributes:
        class_name: The class; the column is called `class`.
        dataset: The dataset.
        cases: Cases that were scored.
        missed: Those of them where only the truth holds voxels.
        invented: Those of them where only the prediction does.
        absent: Cases beside them where neither does.
    """

    class_name: str
    dataset: str
    cases: int
    missed: int
    invented: int
    absent: int
    dice_mean: float
    dice_std: float
    hausdorff_mm_mean: float
    hausdorff_mm_std: float
    hd95_mm_mean: float
    hd95_mm_std: float


@dataclass(frozen=True)
class Scores:
    """Scores of one network.

    Attributes:
        scores: One for each case and class that it annotates.
        failures: Why a case could not be scored, by case id.
        settings: What was evaluated and how, plain values.
    """

    scores: tuple[Score, ...]
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rows(self) -> pd.DataFrame:
        """One row per score."""
        columns = list(Score.__dataclass_fields__)
        return pd.DataFrame(map(asdict, self.scores), columns=columns).rename(columns=_CLASS)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per cell."""
        columns = list(Cell.__dataclass_fields__)
        return pd.DataFrame(map(asdict, self.cells), columns=columns).rename(columns=_CLASS)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """What the scores come to, by class id and dataset."""
        groups: dict[tuple[int, str], list[Score]] = {}
        for score in self.scores:
            groups.setdefault((score.class_id, score.dataset), []).append(score)
        return tuple(_cell(groups[key]) for key in sorted(groups))

    def means(self, metric: Metric) -> dict[CellName, float]:
        """Mean of a metric in each cell, in their order; cells without a scored case left out."""
        found = {(c.class_name, c.dataset): getattr(c, f"{metric}_mean") for c in self.cells}
        return {name: mean for name, mean in found.items() if not math.isnan(mean)}

    def mean(self, metric: Metric) -> float:
        """Mean over the cells, each counted once however many cases it has; NaN without any.

        Source: the column "All" of Shi et al. 2021, Tables 3 and 4.
        """
        means = self.means(metric).values()
        return fmean(means) if means else math.nan

    @property
    def mean_dice(self) -> float:
        """`mean` of the Dice coefficient."""
        return self.mean("dice")


def write_scores(scores: Scores, folder: Path) -> None:
    """Write `scores.csv` (per case), `summary.csv` and `summary.json`, each as a whole file.

    JSON has no NaN: a mean or deviation that does not exist is null.
    """
    for name, frame in {"scores.csv": scores.rows, "summary.csv": scores.summary}.items():
        with whole_file(folder / name) as temporary:
            frame.to_csv(temporary, index=False)
    summary = {
        "mean": {metric: _or_none(scores.mean(metric)) for metric in METRICS},
        "cells": [
            {_CLASS.get(k, k): _or_none(v) for k, v in asdict(c).items()} for c in scores.cells
        ],
        "failures": dict(scores.failures),
        "settings": dict(scores.settings),
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def read_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        TrainingError: The files are not there, or are not whole.
    """
    try:
        with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
            scores = tuple(_score(row) for row in csv.DictReader(file))
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return Scores(scores, summary["failures"], summary["settings"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        msg = f"no scores that can be read in {folder}: {error}; run `marginalia evaluate` first"
        raise TrainingError(msg) from error


def _score(row: Mapping[str, str]) -> Score:
    # by hand: pandas takes a case called 007 for a number, and a dataset called NA for none
    numbers = {n: float(row[n] or "nan") for n in (*METRICS, "truth_ml", "prediction_ml")}
    return Score(
        dataset=row["dataset"],
        case_id=row["case_id"],
        class_id=int(row["class_id"]),
        class_name=row["class"],
        outcome=TypeAdapter(Outcome).validate_python(row["outcome"]),
        **numbers,
    )


def _cell(scores: Sequence[Score]) -> Cell:
    outcomes = [score.outcome for score in scores]
    scored = [score for score in scores if score.outcome != "absent"]
    dice_mean, dice_std = _mean_std(s.dice for s in scored)
    hausdorff_mean, hausdorff_std = _mean_std(s.hausdorff_mm for s in scored)
    hd95_mean, hd95_std = _mean_std(s.hd95_mm for s in scored)
    return Cell(
        class_name=scores[0].class_name,
        dataset=scores[0].dataset,
        cases=len(scored),
        missed=outcomes.count("missed"),
        invented=outcomes.count("invented"),
        absent=outcomes.count("absent"),
        dice_mean=dice_mean,
        dice_std=dice_std,
        hausdorff_mm_mean=hausdorff_mean,
        hausdorff_mm_std=hausdorff_std,
        hd95_mm_mean=hd95_mean,
        hd95_mm_std=hd95_std,
    )


def _mean_std(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    mean = fmean(found) if found else math.nan
    return mean, stdev(found) if len(found) > 1 else math.nan


def _or_none(value: Any) -> Any:  # noqa: ANN401
    return None if isinstance(value, float) and math.isnan(value) else value
