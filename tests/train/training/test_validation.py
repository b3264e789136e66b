"""Validation: only what a case annotates is scored, cell by cell."""

import numpy as np
import pytest
import torch
from torch import nn

from train.model import Model, Normalisation
from train.patches.mapped_case import open_case
from train.planning.schedule import means_by_key
from train.training import validation
from train.training.validation import mean_score, score_case

CPU = torch.device("cpu")


@pytest.fixture
def scored(manifest, monkeypatch):
    """Score the validation cases against predictions made from their true labels."""

    def score(change):
        volumes = [open_case(manifest, c) for c in manifest.cases() if c.split == "validation"]
        labels = iter([np.array(v.label) for v in volumes])
        monkeypatch.setattr(validation, "predict_classes", lambda *_, **__: change(next(labels)))
        scale = Normalisation(0.0, 1.0, 0.0, 1.0)
        model = Model(nn.Identity(), manifest.label_space, scale, (4.0, 4.0, 4.0), (16, 16, 16))
        scores = (score_case(model, v, device=CPU, overlap=0.5)[0] for v in volumes)
        return means_by_key(item for case in scores for item in case.items())

    return score


def test_a_perfect_prediction_has_one_cell_for_each_annotated_class(scored):
    cells = scored(lambda label: label)
    assert cells == {("both", "liver"): 1, ("both", "spleen"): 1, ("liver_only", "liver"): 1}


def test_a_class_that_is_not_annotated_costs_nothing_where_it_is_predicted(scored):
    def everywhere(label):
        return np.where(label == 0, 2, label).astype(np.uint8)

    cells = scored(everywhere)
    assert cells["liver_only", "liver"] == 1
    assert cells["both", "spleen"] < 0.5


def test_half_of_an_organ_scores_two_thirds(scored):
    def halve(label):
        half = label.copy()
        flat = np.flatnonzero(label == 1)
        half.reshape(-1)[flat[::2]] = 0
        return half

    assert scored(halve)["both", "liver"] == pytest.approx(2 / 3, abs=1e-3)


def test_the_score_is_the_mean_over_cells(scored):
    assert mean_score({("a", "liver"): 0.5, ("a", "spleen"): 1.0, ("b", "liver"): 0.0}) == 0.5
    assert mean_score({}) is None
    assert mean_score(scored(lambda label: label * np.uint8(0))) == 0
