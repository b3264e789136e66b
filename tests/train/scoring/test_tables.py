"""The table of one network's scores as it is read."""

from tests.train.made_scores import score, scores
from tests.train.printed import lines, words
from train.scoring.scores import Scores
from train.scoring.tables import scores_table, scores_view


def test_a_line_for_each_class_and_dataset_and_the_mean_of_all():
    found = words(
        scores_table(
            scores(spleen_in_btcv=[0.5], liver_in_msd=[0.9, 0.9], liver_in_btcv=[0.7, 0.9]),
            title="Test",
        )
    )
    assert "liver btcv 0.800 ± 0.141 2.00 ± 1.41 1.00 ± 0.71 0.800 ± 0.141 2" in found
    assert "msd 0.900 ± 0.000 1.00 ± 0.00 0.50 ± 0.00 0.900 ± 0.000 2" in found
    assert "spleen btcv 0.500 5.00 2.50 0.500 1" in found
    assert "all 0.733 2.67 1.33 0.733" in found


def test_missed_organs_are_told_below():
    text = " ".join(lines(scores_table(scores(spleen_in_btcv=[0.5, 0.0])), width=200))
    meaning = "not found: Dice and NSD 0, distances the volume's diagonal"
    assert f"missed ({meaning}): 1 spleen in btcv" in text


def test_nothing_below_when_all_was_found():
    assert scores_table(scores(spleen_in_btcv=[0.5])).caption is None


def test_at_80_columns_deviations_stand_below_and_no_number_is_cut():
    names = ("left_kidney+right_kidney", "gallbladder")
    found = Scores(
        tuple(
            score(
                f"msd_pancreas/{n}",
                dice=0.8 + 0.1 * n,
                class_id=i,
                class_name=name,
                hausdorff_mm=123.45 + 100 * n,
                hd95_mm=110.0 + 100 * n,
            )
            for i, name in enumerate(names)
            for n in range(2)
        )
    )
    shown = words(scores_view(found), width=80)
    assert "left_kidney+ msd_pancreas 0.850 173.45 160.00 0.850 2" in shown
    assert "right_kidney ±0.071 ±70.71 ±70.71 ±0.071" in shown
    assert "all 0.850 173.45 160.00 0.850" in shown
    wide = words(scores_view(found), width=120)
    numbers = "0.850 ± 0.071 173.45 ± 70.71 160.00 ± 70.71 0.850 ± 0.071 2"
    assert f"left_kidney+right_kidney msd_pancreas {numbers}" in wide
