"""Conditional network: one image, another class, another answer."""

import pytest
import torch

from train.methods.rivals.conditional import draw_classes
from train.methods.table import new_network
from train.networks.network import NetworkSettings


@pytest.fixture
def network():
    form = NetworkSettings((16, 16, 16), (2.0, 2.0, 2.0), (4, 8, 8), method="conditional")
    return new_network(form, 4).eval()


@pytest.fixture
def images():
    return torch.randn(2, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_it_answers_differently_for_different_classes_on_one_image(network, images):
    answers = [network(images, torch.full((2,), n)) for n in (1, 2, 3)]
    # far from the border, whose zeros let even an instance norm feel the map: 0.02 to 0.05 here
    middle = (slice(None), 0, *[slice(15, 25)] * 3)
    spread = answers[0][middle].std()
    for one, other in ((0, 1), (1, 2), (0, 2)):
        difference = (answers[one][middle] - answers[other][middle]).abs().mean()
        assert difference / spread > 0.1


@torch.no_grad()
def test_in_evaluation_it_asks_for_each_class_and_the_background_has_a_logit_of_0(network, images):
    every = network(images[:, :, :16, :16, :16])
    assert every.shape == (2, 4, 16, 16, 16)
    assert (every[:, 0] == 0).all()
    for n in (1, 2, 3):
        alone = network(images[:, :, :16, :16, :16], torch.full((2,), n))
        torch.testing.assert_close(every[:, n : n + 1], alone)


@torch.no_grad()
def test_each_image_of_a_batch_is_asked_for_its_own_class(network, images):
    mixed = network(images, torch.tensor([1, 3]))
    torch.testing.assert_close(mixed[:1], network(images[:1], torch.tensor([1])))
    torch.testing.assert_close(mixed[1:], network(images[1:], torch.tensor([3])))


def test_a_patch_is_asked_for_a_class_that_its_case_annotates():
    merged = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0], [0, 1, 1, 3]]).repeat(100, 1)
    drawn = draw_classes(merged, range(300)).view(100, 3)
    full, liver, last = (drawn[:, n].unique(return_counts=True) for n in range(3))
    assert full[0].tolist() == [1, 2, 3]
    assert full[1].min() > 15
    assert liver[0].tolist() == [1]
    assert last[0].tolist() == [3]


def test_what_is_drawn_does_not_depend_on_the_rest_of_the_batch():
    merged = torch.tensor([[0, 1, 2, 3]] * 20)
    assert draw_classes(merged, range(20))[7:9].equal(draw_classes(merged[7:9], range(7, 9)))


def test_the_loss_is_about_the_drawn_class_alone(lesson):
    one = lesson("conditional")
    asked = []

    def network(_, wanted):
        asked.append(wanted.tolist())
        # certain, and right
        right = one.batch.target == wanted.view(-1, 1, 1, 1)
        return torch.where(right, 50.0, -50.0)[:, None]

    loss, _ = one.objective.loss(network, one.batch)
    assert loss == pytest.approx(0, abs=1e-4)
    assert asked[0][1] == 1
