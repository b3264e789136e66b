"""Rows: the scores of a table's row, from its runs with all seeds."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from train.experiments.plans.catalogue import Catalogue, TableSpec
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import CellName, Score, Scores


@dataclass(frozen=True)
class RowScores:
    """What the runs of one row come to.

    Attributes:
        title: The row's.
        seeds: Those of which all of the row's runs are done.
        by_seed: Scores of each of them.
    """

    title: str
    seeds: tuple[int, ...]
    by_seed: tuple[Scores, ...]

    @property
    def mean(self) -> Scores:
        """Each case's and class's mean over the seeds."""
        return mean_of_seeds(self.by_seed)

    @property
    def cells(self) -> set[CellName]:
        """Class and dataset of all that is scored."""
        return {(s.class_name, s.dataset) for scores in self.by_seed for s in scores.scores}

    def spread(self, metric: Metric, cells: Collection[CellName]) -> float:
        """Return the standard deviation over seeds of the mean of cells; NaN with one seed."""
        by_seed = ([m for c, m in s.means(metric).items() if c in cells] for s in self.by_seed)
        means = [fmean(found) for found in by_seed if found]
        return stdev(means) if len(means) > 1 else math.nan

    def limited_to(self, cells: Collection[CellName]) -> "RowScores":
        """Return the same row with some of its cells only."""
        limited = (
            replace(
                scores, scores=tuple(s for s in scores.scores if (s.class_name, s.dataset) in cells)
            )
            for scores in self.by_seed
        )
        return replace(self, by_seed=tuple(limited))


def row_scores(
    table: TableSpec, catalogue: Catalogue, done: Mapping[tuple[str, int], Scores]
) -> list[RowScores]:
    """The rows of which at least one seed is done.

    Args:
        table: The table.
        catalogue: Says which classes a training speaks for.
        done: Scores by training and seed.
    """
    rows = []
    seeds = tuple(dict.fromkeys(seed for _, seed in done))
    for row in table.rows:
        found = {
            seed: _joined({name: done[name, seed] for name in row.trainings}, catalogue)
            for seed in seeds
            if all((name, seed) in done for name in row.trainings)
        }
        if found:
            rows.append(RowScores(row.title, tuple(found), tuple(found.values())))
    return rows


def of_equal_cases(rows: Sequence[RowScores]) -> list[dict[str, RowScores]]:
    """The rows by their titles, those of one test set together."""
    groups: dict[tuple[str, ...], dict[str, RowScores]] = {}
    for row in rows:
        cases = tuple(row.by_seed[0].settings.get("cases", ()))
        groups.setdefault(cases, {})[row.title] = row
    return list(groups.values())


def mean_of_seeds(seeds: Sequence[Scores]) -> Scores:
    """Scores of one network that stands for several, each case's and class's their mean.

    Where some rightly found nothing, those count as perfect beside the others.
    """
    if len(seeds) == 1:
        return seeds[0]
    found: dict[tuple[str, int], list[Score]] = {}
    for scores in seeds:
        for score in scores.scores:
            found.setdefault((score.case_id, score.class_id), []).append(score)
    failures = {case: why for scores in seeds for case, why in scores.failures.items()}
    settings = {k: v for k, v in seeds[0].settings.items() if k != "prediction"}
    return Scores(tuple(map(_mean, found.values())), failures, settings)


def _mean(scores: Sequence[Score]) -> Score:
    if all(score.outcome == "absent" for score in scores):
        return scores[0]
    values = {m: fmean(_value(score, m) for score in scores) for m in METRICS}
    outcomes = [score.outcome for score in scores if score.outcome != "absent"]
    volume = fmean(score.prediction_ml for score in scores)
    return replace(scores[0], outcome=outcomes[0], prediction_ml=volume, **values)


def _value(score: Score, metric: Metric) -> float:
    return SCALES[metric].best if score.outcome == "absent" else getattr(score, metric)


def _joined(parts: Mapping[str, Scores], catalogue: Catalogue) -> Scores:
    """The scores of a row's trainings, of each those of the classes that it keeps."""
    if len(parts) == 1:
        (name,) = parts
        return _of_classes(parts[name], catalogue.trainings[name].keep)
    limited = [_of_classes(s, catalogue.trainings[name].keep) for name, s in parts.items()]
    first = next(iter(parts.values()))
    settings = {k: v for k, v in first.settings.items() if k != "prediction"}
    failures = {case: why for scores in limited for case, why in scores.failures.items()}
    joined = sorted((s for scores in limited for s in scores.scores), key=_order)
    return Scores(tuple(joined), failures, settings)


def _order(score: Score) -> tuple[str, int]:
    return score.case_id, score.class_id


def _of_classes(scores: Scores, classes: Sequence[str]) -> Scores:
    if not classes:
        return scores
    return replace(scores, scores=tuple(s for s in scores.scores if s.class_name in classes))
