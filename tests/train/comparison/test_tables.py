"""Tables of several runs as they are read."""

import math

import pytest

from tests.train.made_scores import score, scores
from tests.train.printed import lines, words
from train.comparison.comparison import compare
from train.comparison.tables import (
    compare_table,
    comparison_table,
    comparison_view,
    worst_table,
    worst_view,
)
from train.comparison.worst import worst_cases
from train.scoring.runs import Run
from train.scoring.scores import Scores

# --- side by side -----------------------------------------------------------------------------

FULL = {"liver_in_btcv": [0.6, 0.7, 0.8], "spleen_in_btcv": [0.9, 0.9, 0.9]}
MORE = {"liver_in_btcv": [0.7, 0.7, 0.7], "spleen_in_btcv": [0.95, 0.95, 0.95]}
LESS = {"liver_in_btcv": [0.5, 0.5, 0.5], "spleen_in_btcv": [0.85, 0.85, 0.85]}


def test_two_runs_and_the_gain_of_the_second_over_the_first():
    found = words(compare_table({"full": scores(**FULL), "more": scores(**MORE)}))
    assert "liver btcv 3 0.700 ± 0.100 0.700 ± 0.000 0.000" in found
    assert "spleen btcv 3 0.900 ± 0.000 0.950 ± 0.000 +0.050" in found
    assert "all 0.800 0.825 +0.025" in found


def test_a_gain_in_distance_is_a_shorter_distance():
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(liver_in_btcv=[0.8])}
    found = words(compare_table(named, metric="hausdorff_mm"))
    assert "liver btcv 1 4.00 2.00 +2.00" in found


def test_below_a_mean_stand_its_interval_and_the_p_value_against_the_first():
    better = [0.3 + 0.02 * n for n in range(8)]
    named = {
        "full": scores(liver_in_btcv=[0.3] * 8),
        "union": scores(liver_in_btcv=[0.31, *better[1:]]),
    }
    table = compare_table(named)
    # of 8 cases all are better: 2 / 2^8
    assert any("p 0.0078" in line and "[" in line for line in lines(table))
    assert "against full" in " ".join(lines(table))


def styled(named, cell, metric="dice"):
    (line,) = (x for x in lines(compare_table(named, metric=metric), style=True) if cell in x)
    marks = {"bold": "\x1b[1m", "underline": "\x1b[4m"}
    return {
        name: [part.split("\x1b[0m")[0].strip() for part in line.split(mark)[1:]]
        for name, mark in marks.items()
    }


@pytest.mark.parametrize(("metric", "best"), [("dice", "0.800"), ("hd95_mm", "1.00")])
def test_the_best_of_two_is_bold(metric, best):
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(liver_in_btcv=[0.8])}
    assert styled(named, "btcv", metric) == {"bold": [best], "underline": []}


def test_of_three_the_second_best_is_underlined():
    named = {"a": scores(**LESS), "b": scores(**MORE), "c": scores(**FULL)}
    marks = styled(named, "spleen")
    assert marks == {"bold": ["0.950 ± 0.000"], "underline": ["0.900 ± 0.000"]}
    # equal to the last digit that is shown is equally good, and the next is the second
    marks = styled(named, "liver")
    assert marks["bold"] == ["0.700 ± 0.000", "0.700 ± 0.100"]
    assert marks["underline"] == ["0.500 ± 0.000"]


def test_the_mean_of_a_comparison_is_over_what_all_have():
    named = {
        "full": scores(liver_in_btcv=[0.6]),
        "all": scores(liver_in_btcv=[0.8], spleen_in_btcv=[0.1]),
    }
    found = words(compare_table(named))
    assert "spleen btcv 1 – 0.100 –" in found  # noqa: RUF001
    assert "all 0.600 0.800 +0.200" in found


def test_one_network_has_no_gain_and_no_test():
    shown = " ".join(lines(compare_table({"full": scores(liver_in_btcv=[0.6])})))
    assert "gain" not in shown
    assert "Wilcoxon" not in shown


def test_no_change_is_no_gain():
    named = {"full": scores(liver_in_btcv=[0.60004]), "all": scores(liver_in_btcv=[0.6])}
    assert "liver btcv 1 0.600 0.600 0.000" in words(compare_table(named))


def test_two_networks_without_a_common_line():
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(spleen_in_btcv=[0.8])}
    assert "all – – –" in words(compare_table(named))  # noqa: RUF001
    assert math.isnan(Scores(()).mean_dice)


def test_cases_that_are_left_out_and_other_warnings_are_told_below():
    one = scores(liver_in_btcv=[0.6, 0.7, 0.8])
    other = scores(liver_in_btcv=[0.6], failures={"btcv/1": "damaged", "btcv/2": "damaged"})
    comparison = compare({"one": one, "other": other})
    caption = comparison_table(comparison, "dice").caption
    assert "not scored by every run: 2 liver in btcv" in caption
    assert "other failed on 2 cases" in caption


def test_the_worst_cases_stand_first_with_what_each_run_says(tmp_path):
    runs = [
        Run("one", tmp_path, scores(liver_in_btcv=[0.9, 0.4, 0.0, 0.2])),
        Run("other", tmp_path, Scores((score("btcv/0", dice=0.3), score("btcv/3", dice=None)))),
    ]
    worst = worst_cases(runs, 3)
    # btcv/2 is the worst of all, but one run alone scored it
    assert worst.drop_duplicates("rank")[["case_id", "class"]].to_numpy().tolist() == [
        ["btcv/3", "liver"],
        ["btcv/0", "liver"],
    ]
    found = words(worst_table(worst, ["one", "other"]))
    assert "btcv/3 liver 0.200 4.00 absent" in found
    assert "btcv/0 liver 0.900 0.50 0.300 3.50" in found


def test_a_class_that_one_run_does_not_tell_apart_is_among_the_worst_of_a_shared_case(tmp_path):
    both = Scores((score("btcv/0"), score("btcv/0", "spleen", 0.1)))
    runs = [Run("one", tmp_path, both), Run("other", tmp_path, scores(liver_in_btcv=[0.5]))]
    worst = worst_cases(runs, 1)
    assert "btcv/0 spleen 0.100 4.50 –" in words(worst_table(worst, ["one", "other"]))  # noqa: RUF001


def far_apart(count):
    """Runs with the widest numbers that there are, in a class and a dataset of long names."""
    cases = [f"msd_pancreas/pancreas_{n:03}" for n in range(6)]
    return {
        f"network_of_a_long_name_{run}": Scores(
            tuple(
                score(case, dice=0.3 + 0.1 * run + 0.05 * n, hausdorff_mm=123.45 + 11.1 * n + run)
                for n, case in enumerate(cases)
            )
        )
        for run in range(count)
    }


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_at_80_columns_no_number_is_cut_or_wrapped(count, tmp_path):
    named = far_apart(count)
    comparison = compare(named, resamples=100)
    view = comparison_view(comparison, "hausdorff_mm")
    shown = lines(view, width=80)
    (row,) = (line for line in shown if "msd_pancreas" in line)
    assert [f"{151.2 + run:.2f}" for run in range(count)] == row.split()[3 : 3 + count]
    assert " ".join(shown).count("±20.77") == (count if count > 1 else 0)
    # all six differ, so the least p is 2 / 2^6, times the number of tests
    p_value = {1: "p 0", 2: "p 0.031", 3: "p 0.062", 4: "p 0.094"}[count]
    assert " ".join(shown).count(p_value) == count - 1
    assert any("[1" in line for line in shown) == (count < 3)
    runs = [Run(name, tmp_path, found) for name, found in named.items()]
    shown = lines(worst_view(worst_cases(runs, 1), comparison.names), width=80)
    (row,) = (line for line in shown if "pancreas_000" in line)
    assert row.split()[:3] == ["msd_pancreas/pancreas_000", "liver", "0.300"]


def test_at_80_columns_six_names_are_numbers_and_no_name_is_cut():
    names = [f"a{n}_long_name" for n in range(6)]
    comparison = compare({name: scores(**FULL) for name in names}, resamples=100)
    shown = lines(comparison_view(comparison, "dice"), width=80)
    (heading,) = (line for line in shown if "cases" in line and "(1)" in line and "class" in line)
    assert heading.split() == ["class", "in", "cases", *(f"({n})" for n in range(1, 7))]
    (row,) = (line for line in shown if "spleen" in line)
    assert row.split()[3:] == ["0.900"] * 6
    assert " ".join(f"({n}) {name};" for n, name in enumerate(names, start=1))[:-1] in " ".join(
        line.strip() for line in shown
    )


def test_names_are_broken_behind_their_words():
    named = {name: scores(**FULL) for name in ("one_of_five_datasets", "the_other", "a", "b")}
    shown = lines(comparison_view(compare(named, resamples=100), "dice"), width=80)
    assert any("one_of_" in line for line in shown)
    assert any("datasets" in line for line in shown)


def test_names_that_look_like_markup_are_shown_as_they_are():
    comparison = compare({"[red]run": scores(liver_in_btcv=[0.6])})
    assert any("[red]run" in line for line in lines(comparison_table(comparison, "dice")))
