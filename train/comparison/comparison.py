"""Comparison: runs side by side on the cases that all of them scored."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from manifests.ground.errors import TrainingError
from train.comparison.alignment import AlignedScores, align, differences
from train.comparison.statistics import (
    RESAMPLES,
    bootstrap_means,
    holm,
    percentile_interval,
    signed_rank_p,
)
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import ALL, Scores

BEST = "best"
SEED = 0

Vector = Float[np.ndarray, " n"]
Entry = dict[str, Any]  # a row of a comparison's table, by column


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        table: One row for each metric, class of a dataset, and run. The last rows of a metric are
            of the class `all`: the mean over the classes in which every run has a value. Columns:
            `cases` that all runs scored and how many were `left_out`; `mean`; `std`, that of a
            sample (n - 1); the mean `difference` to the run `against`, case by case; `p` of the
            signed-rank test against it, and `p_holm`, corrected for all tests of the metric. The
            intervals are those of the bootstrap. NaN where there is nothing to say.
        warnings: What a reader must know before trusting them.
    """

    names: tuple[str, ...]
    table: pd.DataFrame
    warnings: tuple[str, ...]
    seed: int

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that are compared."""
        return tuple(self.table["metric"].unique())

    def lines(self, metric: Metric) -> list[list[Entry]]:
        """Return the rows of a metric, those of one class and dataset together; `all` is last."""
        rows = self.table.loc[self.table["metric"] == metric].to_dict("records")
        return [rows[i : i + len(self.names)] for i in range(0, len(rows), len(self.names))]


@dataclass(frozen=True)
class _Cell:
    """One class of one dataset: values [runs, cases], and means of them and of draws of cases."""

    order: tuple[int, str, str]  # class id, class, dataset
    left_out: int
    values: Float[np.ndarray, "runs cases"]
    means: Float[np.ndarray, " runs"]
    draws: Float[np.ndarray, "draws runs"]


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
        metrics: Those to compare.
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
    tables: list[pd.DataFrame] = []
    for metric in metrics:
        if metric not in incomparable:
            generator = np.random.default_rng(seed)  # each metric draws the same cases
            cells = list(_cells(aligned, metric, generator, resamples))
            tables.append(_compare(cells, metric, names, against))
    return Comparison(names, pd.concat(tables, ignore_index=True), tuple(warnings), seed)


def _cells(
    aligned: Sequence[AlignedScores], metric: Metric, generator: np.random.Generator, resamples: int
) -> Iterator[_Cell]:
    for dataset in aligned:
        values = dataset.values[metric]
        draws = bootstrap_means(values, generator=generator, resamples=resamples)
        for i, (class_id, class_name, left_out) in enumerate(dataset.classes):
            order = class_id, class_name, dataset.dataset
            means = [v.mean() if v.size else math.nan for v in map(_known, values[:, i])]
            yield _Cell(order, left_out, values[:, i], np.array(means), draws[:, :, i])


def _compare(
    cells: Sequence[_Cell], metric: Metric, names: Sequence[str], against: str
) -> pd.DataFrame:
    overall = _overall([cell for cell in cells if not np.isnan(cell.means).any()], len(names))
    if against == BEST:
        reference = int(np.nan_to_num(SCALES[metric].sign * overall.means, nan=-math.inf).argmax())
    else:
        reference = names.index(against) if against else 0
    rows = [
        {
            "metric": metric,
            "class": cell.order[1],
            "dataset": cell.order[2],
            "run": name,
            "against": names[reference],
            "cases": max(_known(values).size for values in cell.values),
            "left_out": cell.left_out,
            **_entry(cell, run, reference),
        }
        for cell in (*sorted(cells, key=lambda cell: cell.order), overall)
        for run, name in enumerate(names)
    ]
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].tolist()))


def _overall(cells: Sequence[_Cell], runs: int) -> _Cell:
    """Return the mean over cells that all runs have values in, each counted once."""
    means, draws = np.full(runs, math.nan), np.full((1, runs), math.nan)
    if cells:
        means = np.mean([cell.means for cell in cells], axis=0)
        draws = np.mean([cell.draws for cell in cells], axis=0)
    return _Cell((0, ALL, ""), 0, np.empty((runs, 0)), means, draws)


def _entry(cell: _Cell, run: int, reference: int) -> Entry:
    values, draws, is_other = cell.values, cell.draws, run != reference
    known = _known(values[run])
    mean = percentile_interval(draws[:, run])
    difference = percentile_interval(draws[:, run] - draws[:, reference])
    return {
        "mean": float(cell.means[run]),
        "std": float(known.std(ddof=1)) if known.size > 1 else math.nan,
        "mean_low": mean.low,
        "mean_high": mean.high,
        "difference": float(cell.means[run] - cell.means[reference]) if is_other else math.nan,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p": signed_rank_p(_known(values[run] - values[reference])) if is_other else math.nan,
    }


def _known(values: Vector) -> Float[np.ndarray, " known"]:
    return values[~np.isnan(values)]
