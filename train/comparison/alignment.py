"""Alignment: the scores of several runs, case by case, and whether they may be compared at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.ground.errors import TrainingError
from train.comparison.statistics import Values
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import Score, Scores

ClassKey = tuple[int, str]  # class id, class name
_SHOWN = 3  # cases named in a message


@dataclass(frozen=True)
class AlignedScores:
    """One dataset's scores of all runs.

    Attributes:
        dataset: The dataset.
        classes: Id and name of each class, in their order.
        case_ids: The cases that any class is compared on.
        values: Of each metric; NaN where a run does not score the class, where not all runs that
            do scored the case, and where the class is absent from truth and predictions.
        left_out: For each class, how many cases not all of its runs scored.
    """

    dataset: str
    classes: tuple[ClassKey, ...]
    case_ids: tuple[str, ...]
    values: Mapping[Metric, Values]
    left_out: tuple[int, ...]


def align(runs: Sequence[Scores]) -> list[AlignedScores]:
    """Put runs beside each other, dataset by dataset.

    A class that one run rightly finds absent counts as perfect beside a run that invents it there:
    if the case were left out, the invention would cost nothing.
    """
    datasets = sorted({score.dataset for run in runs for score in run.scores})
    return [_align(dataset, runs) for dataset in datasets]


def differences(named: Mapping[str, Scores]) -> tuple[list[str], set[Metric]]:
    """What a reader must know of runs that were not evaluated alike, and metrics it forbids.

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
    cases = {name: {s.case_id for s in scores.scores} for name, scores in named.items()}
    common = set[str].intersection(*cases.values())
    if not common:
        sizes = ", ".join(f"{name}: {len(ids)}" for name, ids in cases.items())
        msg = f"the runs have no scored case in common ({sizes}); evaluate them on the same split"
        raise TrainingError(msg)
    for name, scores in named.items():
        if others := len(cases[name] - common):
            warnings.append(f"{name} has scores of {others} cases that not every run scored")
        if scores.failures:
            warnings.append(f"{name} failed on {len(scores.failures)} cases")
    return warnings, incomparable


def _align(dataset: str, runs: Sequence[Scores]) -> AlignedScores:
    found: dict[ClassKey, list[dict[str, Score]]] = {}
    for number, run in enumerate(runs):
        for s in (s for s in run.scores if s.dataset == dataset):
            by_run = found.setdefault((s.class_id, s.class_name), [{} for _ in runs])
            by_run[number][s.case_id] = s
    classes = tuple(sorted(found))
    shared = {key: _shared(found[key]) for key in classes}
    case_ids = tuple(sorted(set[str]().union(*shared.values())))
    shape = len(runs), len(classes), len(case_ids)
    values: dict[Metric, Values] = {metric: np.full(shape, np.nan) for metric in METRICS}
    for i, key in enumerate(classes):
        for j, case_id in enumerate(case_ids):
            if case_id in shared[key]:
                _fill(values, (i, j), [scores.get(case_id) for scores in found[key]])
    left_out = tuple(len(set[str]().union(*found[key]) - shared[key]) for key in classes)
    return AlignedScores(dataset, classes, case_ids, values, left_out)


def _shared(by_run: Sequence[Mapping[str, Score]]) -> set[str]:
    """The cases that all runs scored which score the class at all."""
    return set[str].intersection(*(set(scores) for scores in by_run if scores))


def _fill(
    values: Mapping[Metric, Values], place: tuple[int, int], scores: Sequence[Score | None]
) -> None:
    if all(score is None or score.outcome == "absent" for score in scores):
        return
    for number, score in enumerate(scores):
        if score is None:
            continue
        for metric in METRICS:
            absent = score.outcome == "absent"
            value = SCALES[metric].best if absent else getattr(score, metric)
            values[metric][(number, *place)] = value


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
