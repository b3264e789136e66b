"""Pooled tests: each row of a table against one of them, over all test cases at once."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from train.comparison.alignment import align
from train.comparison.statistics import holm, signed_rank_p
from train.experiments.tables.rows import RowScores, of_equal_cases
from train.scoring.metrics import METRICS, Metric


def pooled_tests(rows: Sequence[RowScores], against: str) -> pd.DataFrame:
    """Test rows against one, over the cases of all datasets together.

    A case's value is the mean over its classes, each the mean over the seeds: those that both rows
    score. Single cells of a few cases leave such a test no chance once it is corrected for all of
    them; there are no more pooled tests than rows. Rows with other test cases are tested against
    the first of them.

    Returns:
        By metric and row, the p-value of the signed-rank test, with one difference for each case,
        and the same corrected for the number of rows; NaN for the row that is tested against.
    """
    tests = []
    for group in of_equal_cases(rows):
        reference = group.get(against, next(iter(group.values())))
        for title, row in group.items():
            for metric, differences in _differences(row, reference).items():
                p = math.nan if row is reference else signed_rank_p(differences)
                tests.append({"metric": metric, "row": title, "p_pooled": p})
    frame = pd.DataFrame(tests)
    of_metric = frame.groupby("metric")["p_pooled"]
    frame["p_pooled_holm"] = of_metric.transform(lambda p: pd.Series(holm(p.tolist()), p.index))
    return frame


def _differences(row: RowScores, reference: RowScores) -> dict[Metric, np.ndarray]:
    """By metric, each case's mean difference over the classes that both score."""
    found: dict[Metric, list[float]] = {metric: [] for metric in METRICS}
    for dataset in align([row.mean, reference.mean]):
        for metric, values in dataset.values.items():
            apart = values[0] - values[1]
            known = apart[:, ~np.isnan(apart).all(axis=0)]
            found[metric] += np.nanmean(known, axis=0).tolist()
    return {metric: np.array(values) for metric, values in found.items()}
