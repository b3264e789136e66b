"""Intervals and tests against theory, tables and hand calculation."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from train.comparison.statistics import (
    MOST_EXACT,
    bootstrap_means,
    holm,
    percentile_interval,
    signed_rank_p,
)


def draws(values, seed=0, resamples=4000):
    values = np.array(values, dtype=float).reshape(1, 1, -1)
    generator = np.random.default_rng(seed)
    return bootstrap_means(values, generator=generator, resamples=resamples)[:, 0, 0]


def test_the_bootstrap_of_a_mean_has_the_means_own_spread():
    values = np.random.default_rng(1).normal(5.0, 2.0, 60)
    found = draws(values)
    # the bootstrap's standard error is the plug-in one, which divides by n
    assert found.mean() == pytest.approx(values.mean(), abs=0.02)
    assert found.std() == pytest.approx(values.std() / math.sqrt(60), rel=0.05)


def test_an_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(400):
        interval = percentile_interval(draws(generator.normal(3, 1, 40), seed, 500))
        held += interval.low <= 3 <= interval.high
    # 95 % less what a percentile interval of 40 cases is known to fall short by
    assert 0.90 <= held / 400 <= 0.98


def test_cases_without_a_value_do_not_count():
    found = draws([1.0, math.nan, 3.0])
    known = found[~np.isnan(found)]
    assert set(np.round(known, 6)) <= {1.0, 3.0, 2.0, round(5 / 3, 6), round(7 / 3, 6)}
    # a draw without a known case is one in 27
    assert np.isnan(found).mean() == pytest.approx(1 / 27, abs=0.01)
    assert 1.0 <= percentile_interval(found).low <= percentile_interval(found).high <= 3.0


def test_runs_and_classes_are_drawn_together():
    one = np.random.default_rng(3).normal(0, 10, (1, 2, 20))
    found = bootstrap_means(
        np.concatenate([one, one + 1.0]), generator=np.random.default_rng(0), resamples=200
    )
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 1.0)


def test_the_same_seed_draws_the_same():
    np.testing.assert_array_equal(draws([1.0, 2.0, 4.0], seed=5), draws([1.0, 2.0, 4.0], seed=5))


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0], [math.nan]])
def test_what_does_not_vary_has_no_interval(values):
    assert all(map(math.isnan, percentile_interval(draws(values))))


# --- tests ------------------------------------------------------------------------------------


def test_p_of_all_better_is_two_of_all_signs():
    for n in (5, 6, 10):
        assert signed_rank_p(np.arange(1.0, n + 1)) == pytest.approx(2 / 2**n)


def test_p_by_hand():
    # ranks 1 to 4, only rank 1 is negative: sums 1 and 9; of 16 signs, {}, {1} and their mirror
    # images are as far out
    assert signed_rank_p(np.array([-0.1, 0.2, 0.3, 0.4])) == pytest.approx(4 / 16)


def test_p_with_ties_and_zeros_is_that_of_all_ways_to_sign_the_ranks():
    differences = np.array([0.3, 0.3, -0.1, 0.2, 0.2, -0.3, 0.5, 0.0, 0.6, 0.0, 0.1, 0.4])
    ranks = rankdata(np.abs(differences[differences != 0]))
    signs = np.array(list(product([0, 1], repeat=len(ranks))))
    sums, found = signs @ ranks, ranks[differences[differences != 0] > 0].sum()
    expected = 2 * min((sums <= found).mean(), (sums >= found).mean())
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-12)


def test_p_stays_exact_with_ties_from_fourteen_cases_on():
    assert signed_rank_p(np.array([0.1, 0.1, *np.arange(1.0, 13.0)])) == pytest.approx(2 / 2**14)
    assert signed_rank_p(np.array([0.0, *np.arange(1.0, 15.0)])) == pytest.approx(2 / 2**14)


@pytest.mark.parametrize("n", [12, 50])
def test_p_without_ties_is_scipys_exact_one(n):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    expected = wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


def test_p_of_many_cases_is_close_on_both_sides_of_the_last_exact_one():
    differences = np.random.default_rng(0).normal(0.1, 1, MOST_EXACT)
    exact = signed_rank_p(differences)
    expected = wilcoxon(differences, method="asymptotic").pvalue
    assert exact == pytest.approx(expected, rel=0.02)
    many = np.append(differences, 1e-6)
    assert signed_rank_p(many) == wilcoxon(many, method="asymptotic").pvalue


def test_noise_of_arithmetic_is_no_difference():
    """Distances that are equal in exact arithmetic, as those of mirror images are."""
    noise = np.array([1, 1, -1, 1, 1, 1, 1, -1, 1, 1, 1, 1]) * 1.8e-15
    assert signed_rank_p(noise) == 1.0
    assert signed_rank_p(np.append(noise, 0.7)) == 1.0


def test_no_difference_and_no_case():
    assert signed_rank_p(np.zeros(5)) == 1.0
    assert math.isnan(signed_rank_p(np.zeros(0)))
    assert signed_rank_p(np.array([0.0, 0.0, 0.3])) == 1.0


def test_holms_own_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_no_test_does_not_count_in_the_correction():
    corrected = holm([math.nan, 0.02, math.nan, 0.03])
    assert corrected[1::2] == pytest.approx([0.04, 0.04])
    assert all(map(math.isnan, corrected[::2]))
