"""Tables of scores as they are read."""

import math

import pytest
from rich.console import Console

from train.scores import Score, Scores
from train.tables import compare_table, scores_table

CLASSES = ("liver", "spleen")


def scores(**cells):
    """Scores of cells such as `liver_in_btcv`, each a list of Dice values; HD is 10 (1 - Dice)."""
    found = []
    for cell, values in cells.items():
        name, dataset = cell.split("_in_")
        for number, value in enumerate(values):
            score = Score(
                dataset=dataset,
                case_id=f"{dataset}/{number}",
                class_id=CLASSES.index(name) + 1,
                class_name=name,
                outcome="missed" if value == 0 else "compared",
                dice=value,
                hausdorff_mm=10 * (1 - value),
                hd95_mm=5 * (1 - value),
                truth_ml=1.0,
                prediction_ml=1.0,
            )
            found.append(score)
    return Scores(tuple(found))


def lines(table, *, width=80, style=False):
    console = Console(width=width, force_terminal=style, color_system="standard" if style else None)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def words(table):
    return [" ".join(line.split()) for line in lines(table)]


def test_a_line_for_each_class_and_dataset_and_the_mean_of_all():
    found = words(
        scores_table(
            scores(spleen_in_btcv=[0.5], liver_in_msd=[0.9, 0.9], liver_in_btcv=[0.7, 0.9]),
            title="Test",
        )
    )
    assert "liver btcv 0.800 ± 0.141 2.00 ± 1.41 1.00 ± 0.71 2" in found
    assert "msd 0.900 ± 0.000 1.00 ± 0.00 0.50 ± 0.00 2" in found
    assert "spleen btcv 0.500 5.00 2.50 1" in found
    assert "all 0.733 2.67 1.33" in found


def test_missed_organs_are_told_below():
    text = " ".join(lines(scores_table(scores(spleen_in_btcv=[0.5, 0.0])), width=200))
    assert "missed (not found: Dice 0, distances the volume's diagonal): 1 spleen in btcv" in text


def test_nothing_below_when_all_was_found():
    assert scores_table(scores(spleen_in_btcv=[0.5])).caption is None


def test_a_comparison_shows_the_gain_of_the_last_over_the_first():
    named = {
        "full": scores(liver_in_btcv=[0.6], spleen_in_btcv=[0.9]),
        "more": scores(liver_in_btcv=[0.7], spleen_in_btcv=[0.95]),
        "all": scores(liver_in_btcv=[0.8], spleen_in_btcv=[0.85]),
    }
    found = words(compare_table(named))
    assert "liver btcv 0.600 0.700 0.800 +0.200" in found
    assert "spleen btcv 0.900 0.950 0.850 -0.050" in found
    assert "all 0.750 0.825 0.825 +0.075" in found


def test_a_gain_in_distance_is_a_shorter_distance():
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(liver_in_btcv=[0.8])}
    found = words(compare_table(named, metric="hausdorff_mm"))
    assert "liver btcv 4.00 2.00 +2.00" in found


@pytest.mark.parametrize(("metric", "best"), [("dice", "0.800"), ("hd95_mm", "1.00")])
def test_the_best_of_a_line_is_bold(metric, best):
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(liver_in_btcv=[0.8])}
    (line,) = (
        line for line in lines(compare_table(named, metric=metric), style=True) if "btcv" in line
    )
    bold = line.split("\x1b[1m")[1].split("\x1b[0m")[0]
    assert bold.strip() == best
    assert line.count("\x1b[1m") == 1


def test_the_mean_of_a_comparison_is_over_what_all_have():
    named = {
        "full": scores(liver_in_btcv=[0.6]),
        "all": scores(liver_in_btcv=[0.8], spleen_in_btcv=[0.1]),
    }
    found = words(compare_table(named))
    assert "spleen btcv – 0.100 –" in found  # noqa: RUF001
    assert "all 0.600 0.800 +0.200" in found


def test_one_network_has_no_gain():
    assert "gain" not in " ".join(lines(compare_table({"full": scores(liver_in_btcv=[0.6])})))


def test_no_change_is_no_gain():
    named = {"full": scores(liver_in_btcv=[0.60004]), "all": scores(liver_in_btcv=[0.6])}
    assert "liver btcv 0.600 0.600 0.000" in words(compare_table(named))


def test_two_networks_without_a_common_line():
    named = {"full": scores(liver_in_btcv=[0.6]), "all": scores(spleen_in_btcv=[0.8])}
    assert words(compare_table(named))[-2] == "all – – –"  # noqa: RUF001
    assert math.isnan(Scores(()).mean_dice)
