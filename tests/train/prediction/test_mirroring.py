"""Mirroring at test time, by networks that see sides and nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from manifests.classes.label_space import LabelClass, LabelSpace, load_label_space
from manifests.ground.errors import TrainingError
from train.model import Model, Normalisation
from train.prediction.mirroring import mirror_axes, mirrored_mean
from train.prediction.sliding_window import Predictor, predict_classes, probabilities

SPACE = load_label_space("abdomen5")
LEFT, RIGHT = SPACE.names.index("left_kidney"), SPACE.names.index("right_kidney")
WINDOW = (4, 6, 10)
SCALE = Normalisation(-1000.0, 1000.0, 0.0, 100.0)


class Sides(nn.Module):
    """A kidney where it is bright, the left one in the window's second half along x.

    `wrong` is how far it errs towards the left kidney, whichever side it sees.
    """

    def __init__(self, wrong=0.0):
        super().__init__()
        self.wrong = wrong

    def forward(self, images):
        x = torch.arange(images.shape[-1])
        is_left = (x >= images.shape[-1] / 2).expand_as(images)
        logits = torch.zeros(len(images), len(SPACE), *images.shape[2:])
        logits[:, LEFT] = (images * (4.0 * is_left + self.wrong))[:, 0]
        logits[:, RIGHT] = (images * 4.0 * ~is_left)[:, 0]
        return logits


class Biased(nn.Module):
    """Its second class grows along one axis of the window, which a mirror image evens out."""

    def __init__(self, axis):
        super().__init__()
        self.axis = axis

    def forward(self, images):
        size = [1] * 5
        size[2 + self.axis] = -1
        slope = torch.linspace(-1, 1, images.shape[2 + self.axis]).view(size)
        logits = torch.zeros(len(images), len(SPACE), *images.shape[2:])
        logits[:, 1] = slope.expand_as(images)[:, 0]
        return logits


def model(network, space=SPACE, mirrored=()):
    return Model(network, space, SCALE, (1.5, 1.5, 3.0), WINDOW, mirrored)


def bright():
    return np.full(WINDOW, 100, np.int16)


def test_left_and_right_come_back_on_their_own_sides():
    for axes in ((), (2,), (0, 2), (0, 1, 2)):
        classes = predict_classes(Predictor(model(Sides()), "cpu", mirror_axes=axes), bright())
        assert (classes[..., :5] == RIGHT).all()
        assert (classes[..., 5:] == LEFT).all()


def test_an_error_towards_one_side_falls_on_both_sides_alike():
    once, both = (
        probabilities(Predictor(model(Sides(wrong=1.0)), "cpu", mirror_axes=axes), bright())
        for axes in ((), (2,))
    )
    assert not torch.allclose(once[LEFT], once[RIGHT].flip(-1))
    torch.testing.assert_close(both[LEFT], both[RIGHT].flip(-1))
    torch.testing.assert_close(both.sum(0), torch.ones(WINDOW))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_only_the_axes_asked_for_are_mirrored(axis):
    for asked in (0, 1, 2):
        found = mirrored_mean(model(Biased(axis)), (asked,))(torch.zeros(1, 1, *WINDOW))[0, 1]
        assert torch.allclose(found, found.flip(axis)) == (asked == axis)


def test_the_mean_is_of_all_mirror_images():
    windows = torch.rand(2, 1, *WINDOW, generator=torch.manual_seed(0))
    swapped = list(range(len(SPACE)))
    swapped[LEFT], swapped[RIGHT] = RIGHT, LEFT
    network = nn.Conv3d(1, len(SPACE), 3, padding=1)
    expected = [
        network(windows),
        network(windows.flip(3)).flip(3),
        network(windows.flip(4)).flip(4)[:, swapped],
        network(windows.flip((3, 4))).flip((3, 4))[:, swapped],
    ]
    mean = torch.stack([e.softmax(1) for e in expected]).mean(0)
    torch.testing.assert_close(mirrored_mean(model(network), (1, 2))(windows), mean)


def test_the_axes_are_those_of_the_training_or_in_plane():
    assert mirror_axes(model(nn.Identity()), "none") == ()
    assert mirror_axes(model(nn.Identity(), mirrored=(0, 1)), "trained") == (0, 1)
    assert mirror_axes(model(nn.Identity()), "in-plane") == (1, 2)


def test_a_network_that_saw_no_mirror_images_is_not_asked_unless_told_to():
    with pytest.raises(TrainingError, match="no mirror images"):
        mirror_axes(model(nn.Identity()), "trained")


def test_a_class_without_a_counterpart_cannot_be_mirrored_from_left_to_right():
    entry = LabelClass(name="left_kidney", structures=("left_kidney",), colour="#000000")
    lonely = LabelSpace(name="mine", classes=(entry,))
    with pytest.raises(TrainingError, match="no counterpart"):
        mirror_axes(model(nn.Identity(), lonely), "in-plane")
