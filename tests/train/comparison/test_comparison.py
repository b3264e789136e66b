"""Runs side by side: which cases, which means, which tests, and what is refused."""

import math

import pytest

from manifests.ground.errors import TrainingError
from tests.train.made_scores import score, scores
from train.comparison.comparison import compare
from train.scoring.metrics import METRICS
from train.scoring.scores import Scores

SETTINGS = {
    "split": "test",
    "classes": ["background", "liver", "spleen"],
    "nsd_tolerance_mm": 3.0,
    "cases": {"btcv/0": {"image": "i", "label": "l", "merged": [0, 1, 2]}},
}


def lines(named, metric="dice", **options):
    *found, overall = compare(named, **options).lines(metric)
    return {(line[0]["class"], line[0]["dataset"]): line for line in found}, overall


def interval(entry):
    return entry["mean_low"], entry["mean_high"]


def test_means_are_over_the_cases_that_all_runs_scored():
    one = scores(liver_in_btcv=[0.5, 0.7, 0.9])
    other = Scores(tuple(score(f"btcv/{n}", dice=0.6) for n in (1, 2, 3)))
    found, overall = lines({"one": one, "other": other})
    line = found["liver", "btcv"]
    assert (line[0]["cases"], line[0]["left_out"]) == (2, 2)
    assert line[0]["mean"] == pytest.approx(0.8)
    assert line[0]["std"] == pytest.approx(0.2 / math.sqrt(2))
    assert line[1]["difference"] == pytest.approx(-0.2)
    assert math.isnan(line[0]["difference"])
    assert overall[0]["mean"] == pytest.approx(0.8)


def test_an_invention_is_held_against_the_run_that_made_it():
    """Where the class is absent, finding nothing is perfect beside a run that finds something."""
    right = Scores((score("btcv/0", dice=0.8), score("btcv/1", dice=None)))
    wrong = Scores((score("btcv/0", dice=0.8), score("btcv/1", dice=0.0, outcome="invented")))
    found, _ = lines({"right": right, "wrong": wrong})
    line = found["liver", "btcv"]
    assert line[0]["cases"] == 2
    assert [e["mean"] for e in line] == pytest.approx([0.9, 0.4])
    found, _ = lines({"right": right, "wrong": wrong}, metric="hd95_mm")
    assert [e["mean"] for e in found["liver", "btcv"]] == pytest.approx([0.5, 3.0])


def test_what_all_runs_rightly_find_absent_is_not_scored():
    run = Scores((score("btcv/0", dice=0.8), score("btcv/1", dice=None)))
    found, _ = lines({"one": run, "other": run})
    assert found["liver", "btcv"][0]["cases"] == 1


def test_p_values_are_paired_and_corrected_over_all_lines():
    noise = [0.0, 0.1, 0.2, 0.3, 0.15, 0.25]
    one = scores(liver_in_btcv=noise, spleen_in_btcv=noise)
    better = [v + 0.01 * (n + 1) for n, v in enumerate(noise)]
    other = scores(liver_in_btcv=better, spleen_in_btcv=noise)
    found, overall = lines({"one": one, "other": other})
    liver, spleen = (found[name, "btcv"][1] for name in ("liver", "spleen"))
    assert (liver["p"], liver["p_holm"]) == pytest.approx((2 / 64, 4 / 64))
    assert (spleen["p"], spleen["p_holm"]) == (1.0, 1.0)
    # the difference is sure though the runs' own intervals overlap
    assert liver["difference_low"] > 0
    assert liver["mean_low"] < found["liver", "btcv"][0]["mean_high"]
    assert math.isnan(overall[1]["p"])
    assert math.isnan(found["liver", "btcv"][0]["p"])


def test_the_reference_is_the_first_the_named_or_the_best_of_each_metric():
    named = {
        "low": scores(liver_in_btcv=[0.1, 0.2]),
        "high": scores(liver_in_btcv=[0.8, 0.9]),
        "middle": scores(liver_in_btcv=[0.5, 0.6]),
    }
    for against, reference in (("", "low"), ("middle", "middle"), ("best", "high")):
        table = compare(named, against=against).table
        assert set(table["metric"]) == set(METRICS)
        assert set(table["against"]) == {reference}
    with pytest.raises(TrainingError, match=r"no run called 'other'.*low, high, middle"):
        compare(named, against="other")


def test_lines_stand_in_the_order_of_the_classes_and_all_counts_each_once():
    run = scores(spleen_in_btcv=[0.2], liver_in_msd=[0.4, 0.4, 0.4], liver_in_btcv=[0.6])
    found, overall = lines({"run": run})
    assert list(found) == [("liver", "btcv"), ("liver", "msd"), ("spleen", "btcv")]
    assert overall[0]["mean"] == pytest.approx(0.4)


def test_the_interval_of_all_takes_cases_and_not_cells():
    # liver and spleen go together in each case: drawn apart, the interval would be narrower
    values = [0.1, 0.9, 0.2, 0.8, 0.15, 0.85, 0.1, 0.9]
    together = scores(liver_in_btcv=values, spleen_in_btcv=values)
    found, overall = lines({"run": together})
    assert interval(overall[0]) == pytest.approx(interval(found["liver", "btcv"][0]))
    apart = scores(liver_in_btcv=values, spleen_in_btcv=[1 - v for v in values])
    _, overall = lines({"run": apart})
    assert math.isnan(overall[0]["mean_low"])  # 0.5 whatever is drawn


def test_cases_are_drawn_within_their_dataset_so_that_datasets_may_differ():
    spread = 0.01
    values = {"liver_in_btcv": 40 * [0.9], "liver_in_msd": 10 * [0.1]}
    values = {k: [v + spread * (-1) ** n for n, v in enumerate(x)] for k, x in values.items()}
    _, overall = lines({"run": scores(**values)})
    assert overall[0]["mean"] == pytest.approx(0.5)
    # of the mean of two independent means; drawn over all cases it would be 30 times as wide
    error = spread * math.sqrt(1 / 40 + 1 / 10) / 2
    low, high = interval(overall[0])
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_same_seed_gives_the_same_numbers():
    run = scores(liver_in_btcv=[0.1, 0.53, 0.6, 0.97])
    one, same, other = (
        compare({"run": run}, seed=seed, resamples=40).lines("dice") for seed in (0, 0, 1)
    )
    assert str(one) == str(same)
    assert interval(one[0][0]) != interval(other[0][0])


# --- what is refused, and what is told --------------------------------------------------------


def evaluated(**changes):
    return scores({**SETTINGS, **changes}, liver_in_btcv=[0.5, 0.6])


def test_runs_of_other_classes_are_refused():
    other = evaluated(classes=["background", "spleen", "liver"])
    with pytest.raises(TrainingError, match=r"one and other have different classes"):
        compare({"one": evaluated(), "other": other})


@pytest.mark.parametrize("change", [{"label": "other"}, {"merged": [0, 1, 1]}])
def test_runs_that_were_scored_against_other_labels_are_refused(change):
    case = {**SETTINGS["cases"]["btcv/0"], **change}
    with pytest.raises(TrainingError, match=r"other labels in 1 cases \(btcv/0\)"):
        compare({"one": evaluated(), "other": evaluated(cases={"btcv/0": case})})


def test_runs_without_a_common_case_are_refused():
    with pytest.raises(TrainingError, match="one: 2, other: 1"):
        compare({"one": evaluated(), "other": scores(liver_in_msd=[0.5])})


def test_other_tolerances_leave_out_nsd_only():
    comparison = compare({"one": evaluated(), "other": evaluated(nsd_tolerance_mm=1.0)})
    assert "nsd" not in comparison.metrics
    assert "dice" in comparison.metrics
    assert comparison.warnings == ("NSD is left out: one and other have other tolerances",)


def test_what_a_reader_must_know():
    other = scores({**SETTINGS, "split": "validation"}, {"btcv/1": "damaged"}, liver_in_btcv=[0.5])
    warnings = compare({"one": evaluated(), "other": other}).warnings
    assert warnings == (
        "one and other were scored on the splits 'test' and 'validation'",
        "one has scores of 1 cases that not every run scored",
        "other failed on 1 cases",
    )
    assert compare({"one": evaluated(), "same": evaluated()}).warnings == ()


def test_a_dataset_without_a_common_case_says_nothing_of_itself():
    one = Scores((score("btcv/0", dice=0.8), score("kits/0", dice=0.7)))
    other = Scores((score("btcv/0", dice=0.6), score("kits/1", dice=0.9)))
    found, overall = lines({"one": one, "other": other})
    assert [e["mean"] for e in overall] == pytest.approx([0.8, 0.6])
    assert all(math.isnan(e["mean"]) and e["cases"] == 0 for e in found["liver", "kits"])
