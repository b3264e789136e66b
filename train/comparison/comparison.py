"""Comparison: runs side by side on the cases that all of them scored."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from manifests.ground.errors import TrainingError
from train.comparison.alignment import AlignedScores, align, differences
from train.comparison.statistics import (
    RESAMPLES,
    Interval,
    bootstrap_means,
    holm,
    percentile_interval,
    signed_rank_p,
)
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import ALL, Scores

BEST = "best"
SEED = 0

NOT_KNOWN = Interval(math.nan, math.nan)

Vector = Float[np.ndarray, " n"]
Draws = Float[np.ndarray, "draws runs"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run in one line; NaN where there is nothing to say.

    Attributes:
        mean: Over the line's cases.
        interval: Bootstrap interval of the mean.
        std: Of a sample (n - 1).
        difference: Mean difference to the reference, case by case.
        difference_interval: Bootstrap interval of that.
        p: Of the signed-rank test against the reference.
        p_holm: The same, corrected for all tests of the metric.
    """

    mean: float
    interval: Interval
    std: float = math.nan
    difference: float = math.nan
    difference_interval: Interval = NOT_KNOWN
    p: float = math.nan
    p_holm: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Line:
    """One class of one dataset, or the mean of all of them.

    Attributes:
        class_name: The class, or `all`.
        dataset: The dataset; empty for `all`.
        cases: Cases that are compared.
        left_out: Cases beside them that some of the runs did not score.
        entries: One for each run.
    """

    class_name: str
    dataset: str
    cases: int
    left_out: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class MetricComparison:
    """All lines of one metric.

    Attributes:
        metric: The metric.
        reference: Index of the run that the others are tested against.
        lines: One for each class and dataset.
        overall: The mean over the lines in which every run has a value.
    """

    metric: Metric
    reference: int
    lines: tuple[Line, ...]
    overall: Line


@dataclass(frozen=True)
class _Cell:
    """Values [runs, cases] of one class of one dataset, and means of draws [draws, runs]."""

    order: tuple[int, str, str]  # class id, class, dataset
    left_out: int
    values: Float[np.ndarray, "runs cases"]
    draws: Draws

    @cached_property
    def means(self) -> Vector:
        """Of each run; NaN without a case."""
        return np.array([v.mean() if v.size else math.nan for v in map(_known, self.values)])


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        names: Of the runs.
        metrics: One comparison for each metric.
        warnings: What a reader must know before trusting them.
        seed: Of the bootstrap.
    """

    names: tuple[str, ...]
    metrics: Mapping[Metric, MetricComparison]
    warnings: tuple[str, ...]
    seed: int


def compare(
    named: Mapping[str, Scores],
    *,
    metrics: Sequence[Metric] = METRICS,
    against: str = "",
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare runs on the cases that all of them scored.

    Args:
        named: Scores by the run's name.
        metrics: The metrics to compare.
        against: Name of the run that the others are tested against, or `best`, for each metric
            the run with the best mean of all; the first run if left out.
        seed: Of the bootstrap.
        resamples: Number of its draws.

    Raises:
        TrainingError: The runs were scored against other truths or on no common case, or there is
            no run of that name.

    Source: Shi et al. 2021, Tables 3, 4 and 7; the tests and intervals are ours.
    """
    names = tuple(named)
    if against not in ("", BEST, *names):
        msg = f"no run called {against!r}; expected one of {', '.join(names)}, or {BEST}"
        raise TrainingError(msg)
    warnings, incomparable = differences(named)
    aligned = align(list(named.values()))
    compared: dict[Metric, MetricComparison] = {}
    for metric in metrics:
        if metric not in incomparable:
            generator = np.random.default_rng(seed)  # each metric draws the same cases
            cells = list(_cells(aligned, metric, generator, resamples))
            compared[metric] = _compare(cells, metric, names, against)
    return Comparison(names, compared, tuple(warnings), seed)


def _cells(
    aligned: Sequence[AlignedScores], metric: Metric, generator: np.random.Generator, resamples: int
) -> Iterator[_Cell]:
    for dataset in aligned:
        values = dataset.values[metric]
        draws = bootstrap_means(values, generator=generator, resamples=resamples)
        for i, (class_id, class_name) in enumerate(dataset.classes):
            order = class_id, class_name, dataset.dataset
            yield _Cell(order, dataset.left_out[i], values[:, i], draws[:, :, i])


def _compare(
    cells: Sequence[_Cell], metric: Metric, names: Sequence[str], against: str
) -> MetricComparison:
    shared = [cell for cell in cells if not np.isnan(cell.means).any()]
    overall = np.full(len(names), math.nan)
    draws = np.full((1, len(names)), math.nan)
    if shared:
        overall = np.mean([cell.means for cell in shared], axis=0)
        draws = np.mean([cell.draws for cell in shared], axis=0)
    if against == BEST:
        reference = int(np.nan_to_num(SCALES[metric].sign * overall, nan=-math.inf).argmax())
    else:
        reference = names.index(against) if against else 0
    lines = [_line(cell, reference) for cell in sorted(cells, key=lambda cell: cell.order)]
    entries = _entries(overall, draws, reference)
    last = Line(class_name=ALL, dataset="", cases=0, left_out=0, entries=tuple(entries))
    return MetricComparison(metric, reference, tuple(_corrected(lines)), last)


def _line(cell: _Cell, reference: int) -> Line:
    differences = cell.values - cell.values[reference]
    tested = [
        replace(
            entry,
            std=_std(cell.values[run]),
            p=math.nan if run == reference else signed_rank_p(_known(differences[run])),
        )
        for run, entry in enumerate(_entries(cell.means, cell.draws, reference))
    ]
    _, class_name, dataset = cell.order
    return Line(
        class_name=class_name,
        dataset=dataset,
        cases=max(_known(values).size for values in cell.values),
        left_out=cell.left_out,
        entries=tuple(tested),
    )


def _entries(means: Vector, draws: Draws, reference: int) -> Iterator[Entry]:
    for run, mean in enumerate(means):
        apart = draws[:, run] - draws[:, reference]
        yield Entry(
            mean=float(mean),
            interval=percentile_interval(draws[:, run]),
            difference=math.nan if run == reference else float(mean - means[reference]),
            difference_interval=percentile_interval(apart),
        )


def _corrected(lines: Sequence[Line]) -> Iterator[Line]:
    """The lines with the p-values of all of them corrected for their number."""
    corrected = iter(holm([entry.p for line in lines for entry in line.entries]))
    for line in lines:
        entries = [replace(entry, p_holm=next(corrected)) for entry in line.entries]
        yield replace(line, entries=tuple(entries))


def _known(values: Vector) -> Float[np.ndarray, " known"]:
    return values[~np.isnan(values)]


def _std(values: Vector) -> float:
    known = _known(values)
    return float(known.std(ddof=1)) if known.size > 1 else math.nan
