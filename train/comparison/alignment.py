"""Alignment: the scores of several runs, case by case, and whether they may be compared at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from manifests.ground.errors import TrainingError
from train.comparison.statistics import Values
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import Scores

_CLASS = ["class_id", "class"]
_SHOWN = 3  # cases named in a message


@dataclass(frozen=True)
class AlignedScores:
    """One dataset's scores of all runs.

    Attributes:
        classes: Id, name, and how many cases not all runs that score the class scored.
        values: Of each metric; NaN where a run does not score the class, where not all runs that
            do scored the case, and where the class is absent from truth and predictions.
    """

    dataset: str
    classes: tuple[tuple[int, str, int], ...]
    values: Mapping[Metric, Values]


def score_frame(runs: Sequence[Scores]) -> pd.DataFrame:
    """Return one row for each run, case and class: the run's number and the columns of a score.

    Cases that a run's network was trained on are not among its rows, unless they are to count.
    """
    frames = [scores.rows.assign(run=number) for number, scores in enumerate(runs)]
    kept = [
        frame.loc[~frame["case_id"].isin(list(scores.left_out))]
        for frame, scores in zip(frames, runs, strict=True)
    ]
    return pd.concat(kept, ignore_index=True)


def align(runs: Sequence[Scores]) -> list[AlignedScores]:
    """Put runs beside each other, dataset by dataset.

    A class that one run rightly finds absent counts as perfect beside a run that invents it there:
    if the case were left out, the invention would cost nothing.
    """
    frame = score_frame(runs)
    frame["found"] = frame["outcome"] != "absent"  # by truth or prediction
    for metric in METRICS:
        frame[metric] = frame[metric].where(frame["found"], SCALES[metric].best)
    return [_align(str(name), rows, len(runs)) for name, rows in frame.groupby("dataset")]


def differences(named: Mapping[str, Scores]) -> tuple[list[str], set[Metric]]:
    """Return what a reader must know of runs not evaluated alike, and metrics it forbids.

    Raises:
        TrainingError: They have other classes, were scored against other truths, or share no case.
    """
    first_name, first = next(iter(named.items()))
    warnings: list[str] = []
    incomparable: set[Metric] = set()
    for name, scores in list(named.items())[1:]:
        pair = f"{first_name} and {name}"
        _refuse_other_truth(pair, first.settings, scores.settings)
        if _differ("split", first, scores):
            splits = f"{first.settings['split']!r} and {scores.settings['split']!r}"
            warnings.append(f"{pair} were scored on the splits {splits}")
        if _differ("nsd_tolerance_mm", first, scores):
            incomparable.add("nsd")
            warnings.append(f"NSD is left out: {pair} have other tolerances")
    cases = {
        name: {s.case_id for s in scores.scores} - scores.left_out for name, scores in named.items()
    }
    common = set[str].intersection(*cases.values())
    if not common:
        sizes = ", ".join(f"{name}: {len(ids)}" for name, ids in cases.items())
        msg = f"the runs have no scored case in common ({sizes}); evaluate them on the same split"
        raise TrainingError(msg)
    for name, scores in named.items():
        if others := len(cases[name] - common):
            warnings.append(f"{name} has scores of {others} cases that not every run scored")
        if scores.left_out:
            warnings.append(f"{name} was trained on {len(scores.left_out)} cases, left out here")
        if scores.failures:
            warnings.append(f"{name} failed on {len(scores.failures)} cases")
    return warnings, incomparable


def _align(dataset: str, rows: pd.DataFrame, runs: int) -> AlignedScores:
    by_class, by_case = rows.groupby(_CLASS), rows.groupby([*_CLASS, "case_id"])
    shared = by_case["run"].transform("nunique") == by_class["run"].transform("nunique")
    known = by_case["found"].transform("any")
    left_out = rows["case_id"].mask(shared).groupby([rows[c] for c in _CLASS]).nunique()
    cases = rows.loc[shared, "case_id"].astype("category").cat
    place = rows.loc[shared, "run"], by_class.ngroup()[shared], cases.codes
    shape = runs, by_class.ngroups, len(cases.categories)
    values: dict[Metric, Values] = {}
    for metric in METRICS:
        values[metric] = np.full(shape, np.nan)
        values[metric][place] = rows[metric].where(known)[shared]
    classes = tuple(left_out.reset_index().itertuples(index=False, name=None))
    return AlignedScores(dataset, classes, values)


def _refuse_other_truth(pair: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    if "classes" in one and "classes" in other and one["classes"] != other["classes"]:
        msg = (
            f"{pair} have different classes: {one['classes']} and {other['classes']}; evaluate "
            f"both on a manifest of one label space"
        )
        raise TrainingError(msg)
    cases, others = one.get("cases", {}), other.get("cases", {})
    parts = ("label", "merged")
    changed = [
        case_id
        for case_id in cases.keys() & others.keys()
        if [cases[case_id][p] for p in parts] != [others[case_id][p] for p in parts]
    ]
    if changed:
        shown = ", ".join(sorted(changed)[:_SHOWN])
        msg = (
            f"{pair} were scored against other labels in {len(changed)} cases ({shown}): other "
            f"spacing, other annotations or other merged classes; evaluate both on one manifest"
        )
        raise TrainingError(msg)


def _differ(key: str, one: Scores, other: Scores) -> bool:
    return (
        key in one.settings and key in other.settings and one.settings[key] != other.settings[key]
    )
