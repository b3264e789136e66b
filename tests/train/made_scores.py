"""Scores that are made up, for tests of what is done with them."""

import math

from train.scoring.metrics import METRICS
from train.scoring.scores import Score, Scores

CLASSES = ("liver", "spleen")


def score(case_id, class_name="liver", dice=0.5, **changes):
    """A score whose metrics all follow from its Dice; None is a class that is rightly absent."""
    outcome = "absent" if dice is None else "missed" if dice == 0 else "compared"
    value = math.nan if dice is None else dice
    metrics = {
        "dice": value,
        "iou": value / (2 - value),
        "hausdorff_mm": 10 * (1 - value),
        "hd95_mm": 5 * (1 - value),
        "assd_mm": 1 - value,
        "nsd": value,
    }
    assert set(metrics) == set(METRICS)
    usual = {
        "dataset": case_id.split("/")[0],
        "class_id": CLASSES.index(class_name) + 1 if class_name in CLASSES else 0,
        "outcome": outcome,
        "truth_ml": 1.0,
        "prediction_ml": 1.0,
    }
    return Score(case_id=case_id, class_name=class_name, **{**usual, **metrics, **changes})


def scores(settings=None, failures=None, **cells):
    """Scores of cells such as `liver_in_btcv`, each a list of Dice values of cases 0, 1, ..."""
    found = []
    for cell, values in cells.items():
        name, dataset = cell.split("_in_")
        found += [score(f"{dataset}/{n}", name, value) for n, value in enumerate(values)]
    return Scores(tuple(found), failures or {}, settings or {})
