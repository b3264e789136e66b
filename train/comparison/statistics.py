"""Statistics of paired scores: bootstrap intervals and signed-rank tests."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata, wilcoxon

CONFIDENCE = 0.95
RESAMPLES = 10_000
TIE_DECIMALS = 9  # of Dice or mm: far above the noise of arithmetic, far below any difference
MOST_EXACT = 200  # cases

Values = Float[np.ndarray, "runs classes cases"]
Means = Float[np.ndarray, "draws runs classes"]


class Interval(NamedTuple):
    """A confidence interval; NaN where there is none."""

    low: float
    high: float


def bootstrap_means(
    values: Values, *, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Means:
    """Return means over cases that are drawn with replacement, as many as there are.

    A draw is of cases: it takes all runs and classes of a case together, so that what runs have
    in common cancels from their difference.

    A value is NaN where a case does not have the class; a mean is NaN where no case of a draw has
    it.

    Source: Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    cases = values.shape[-1]
    if not cases:
        return np.full((resamples, *values.shape[:2]), math.nan)
    times_drawn = generator.multinomial(cases, np.full(cases, 1 / cases), size=resamples)
    known = ~np.isnan(values)
    sums = np.tensordot(times_drawn, np.where(known, values, 0.0), axes=(1, 2))
    counts = np.tensordot(times_drawn, known.astype(np.float64), axes=(1, 2))
    # where nothing was drawn the sum is 0 too: 0 / 0 is the NaN that is wanted
    with np.errstate(invalid="ignore"):
        return sums / counts


def percentile_interval(draws: Float[np.ndarray, " draws"]) -> Interval:
    """Return the interval that leaves out the same share of draws at either end, NaN not counted.

    Draws that are all alike, as of a single case, say nothing: NaN.
    """
    known = draws[~np.isnan(draws)]
    if not known.size or np.allclose(known, known[0], rtol=1e-9, atol=1e-12):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def signed_rank_p(differences: Float[np.ndarray, " cases"]) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test; NaN without a case.

    Differences that are equal to `TIE_DECIMALS` decimals are ties and share their mean rank. Cases
    without a difference are left out, as Wilcoxon did; without any other, p is 1. Up to
    `MOST_EXACT` cases the p-value is exact, given the ties: all ways to sign the ranks are equally
    likely. Beyond, it is that of the normal approximation.

    Source: Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """
    if not differences.size:
        return math.nan
    signed = np.round(differences, TIE_DECIMALS)
    signed = signed[signed != 0]
    if not signed.size:
        return 1.0
    if signed.size > MOST_EXACT:
        tested: Any = wilcoxon(signed, zero_method="wilcox", method="asymptotic")
        return float(tested.pvalue)
    doubled_ranks = np.rint(2 * rankdata(np.abs(signed))).astype(int)  # mean ranks may be halves
    sums = np.ones(1)  # probability of each sum of the positive ranks
    for rank in doubled_ranks:
        sums = (np.pad(sums, (0, rank)) + np.pad(sums, (rank, 0))) / 2
    found = int(doubled_ranks[signed > 0].sum())
    return min(1.0, 2 * float(min(sums[: found + 1].sum(), sums[found:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number; NaN is no test and stays.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979).
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        corrected[i] = largest
    return corrected
