"""Rows: the scores of a table's row, from its runs with all seeds."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from train.experiments.plans.catalogue import Catalogue, TableSpec
from train.scoring.metrics import METRICS, SCALES, Metric
from train.scoring.scores import CellName, Score, Scores


@dataclass(frozen=True)
class RowScores:
    """Scores of one row for each seed of which all of the row's runs are done."""

    title: str
    seeds: tuple[int, ...]
    by_seed: tuple[Scores, ...]

    @property
    def mean(self) -> Scores:
        """Each case's and class's mean over the seeds."""
        return mean_of_seeds(self.by_seed)

    @property
    def cells(self) -> set[CellName]:
        """The class and the dataset of all that is scored."""
        return {(s.class_name, s.dataset) for scores in self.by_seed for s in scores.scores}

    def spread(self, metric: Metric, cells: Collection[CellName]) -> float:
        """Return the standard deviation over seeds of the mean of cells; NaN with one seed."""
        by_seed = ([m for c, m in s.means(metric).items() if c in cells] for s in self.by_seed)
        means = [fmean(found) for found in by_seed if found]
        return stdev(means) if len(means) > 1 else math.nan

    def limited_to(self, cells: Collection[CellName]) -> "RowScores":
        """Return the same row with some of its cells only."""
        kept = ([s for s in x.scores if (s.class_name, s.dataset) in cells] for x in self.by_seed)
        limited = (replace(x, scores=tuple(k)) for x, k in zip(self.by_seed, kept, strict=True))
        return replace(self, by_seed=tuple(limited))


def row_scores(
    table: TableSpec, catalogue: Catalogue, done: Mapping[tuple[str, int], Scores]
) -> list[RowScores]:
    """Return the rows of which at least one seed is done; scores are by training and seed."""
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
    """Return the rows by their titles, those of one test set together."""
    groups: dict[tuple[str, ...], dict[str, RowScores]] = {}
    for row in rows:
        cases = tuple(row.by_seed[0].settings.get("cases", ()))
        groups.setdefault(cases, {})[row.title] = row
    return list(groups.values())


def mean_of_seeds(seeds: Sequence[Scores]) -> Scores:
    """Return scores that are the mean over seeds of each case and class.

    Where some rightly found nothing, those count as perfect beside the others.
    """
    if len(seeds) == 1:
        return seeds[0]
    found: dict[tuple[str, int], list[Score]] = {}
    for score in (s for scores in seeds for s in scores.scores):
        found.setdefault((score.case_id, score.class_id), []).append(score)
    return _of_several(seeds, map(_mean, found.values()))


def _mean(scores: Sequence[Score]) -> Score:
    found = [score for score in scores if score.outcome != "absent"]
    if not found:
        return scores[0]
    values = {
        m: fmean([SCALES[m].best if s.outcome == "absent" else getattr(s, m) for s in scores])
        for m in METRICS
    }
    volume = fmean(score.prediction_ml for score in scores)
    return replace(scores[0], outcome=found[0].outcome, prediction_ml=volume, **values)


def _joined(parts: Mapping[str, Scores], catalogue: Catalogue) -> Scores:
    """The scores of a row's trainings, of each those of the classes that it keeps."""
    limited: list[Scores] = []
    for name, scores in parts.items():
        kept = catalogue.trainings[name].keep
        found = tuple(s for s in scores.scores if not kept or s.class_name in kept)
        limited.append(replace(scores, scores=found))
    if len(limited) == 1:
        return limited[0]
    every = (s for scores in limited for s in scores.scores)
    return _of_several(limited, sorted(every, key=lambda s: (s.case_id, s.class_id)))


def _of_several(parts: Sequence[Scores], scores: Iterable[Score]) -> Scores:
    failures = {case: why for part in parts for case, why in part.failures.items()}
    settings = {k: v for k, v in parts[0].settings.items() if k != "prediction"}
    return Scores(tuple(scores), failures, settings)
