"""Windows: they cover every body, and not much beside it."""

import numpy as np
import pytest
import torch
from torch import nn

from manifests.classes.label_space import load_label_space
from train.model import Model, Normalisation
from train.prediction.sliding_window import Predictor, predict_classes
from train.prediction.windows import layers

WINDOW = (8, 16, 16)
SHAPE = (20, 70, 90)


def air(*, noise_hu=20.0):
    noise = np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    return (noise - 1000).round().astype(np.int16)


def covered(hu, overlap=0.5):
    seen = np.zeros(hu.shape, np.int64)
    for _, places in layers(hu, WINDOW, overlap):
        for place in places:
            seen[place] += 1
    return seen


def test_air_and_its_noise_are_not_looked_at():
    assert not covered(air()).any()


def test_windows_stand_around_the_body_within_the_volume():
    hu = air()
    hu[:, 30:50, 20:60] = 40
    seen = covered(hu)
    assert (seen[:, 30:50, 20:60] > 0).all()
    assert set(np.argwhere(seen).min(0)) | set(np.argwhere(seen).max(0))
    assert not seen[:, :8].any()
    assert not seen[:, 64:].any()
    assert sum(len(places) for _, places in layers(hu, WINDOW, 0.5)) < 4 * 8 * 11 / 3


@pytest.mark.parametrize("corner", list(np.ndindex(2, 2, 2)))
def test_an_organ_at_the_border_is_not_lost(corner):
    hu = air()
    organ = tuple(slice(-3, None) if far else slice(0, 3) for far in corner)
    hu[organ] = 60
    assert (covered(hu)[organ] > 0).all()


def test_a_lung_that_the_border_cuts_is_looked_at():
    hu = air()
    hu[5:15, 60:, :30] = -900  # thinner than most, without a vessel
    assert (covered(hu)[5:15, 60:, :30] > 0).all()


def test_a_body_that_fills_the_slices_is_covered_as_the_whole_volume_is():
    hu = np.zeros(SHAPE, np.int16)
    hu[:, :5] = -1000
    spots = covered(hu)
    np.testing.assert_array_equal(spots, covered(np.zeros(SHAPE, np.int16)))
    assert (spots > 0).all()


def test_what_no_window_shows_is_background():
    class Foreground(nn.Module):
        def forward(self, images):
            return torch.cat([torch.zeros_like(images), torch.ones_like(images)], 1)[:, [0, 1, 0]]

    space = load_label_space("pancreas_tumour")
    scale = Normalisation(-200.0, 300.0, 50.0, 100.0)
    model = Model(Foreground(), space, scale, (1.5, 1.5, 3.0), WINDOW)
    hu = air()
    hu[:, 30:50, 20:60] = 40
    classes = predict_classes(Predictor(model, "cpu"), hu)
    np.testing.assert_array_equal(classes == 1, covered(hu) > 0)
