"""DoDNet: the controller writes 162 parameters for each image and task."""

import pytest
import torch
from torch.nn import functional

from train.methods.rivals.dodnet import HEAD_PARAMETERS, DynamicHeadNet
from train.methods.table import new_network
from train.networks.network import NetworkSettings


@pytest.fixture
def network():
    form = NetworkSettings((16, 16, 16), (2.0, 2.0, 2.0), (4, 8, 12), method="dodnet")
    return new_network(form, 4).eval()


@pytest.fixture
def dynamic(network):
    return next(m for m in network.modules() if isinstance(m, DynamicHeadNet))


@pytest.fixture
def images():
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_controller_makes_162_parameters(dynamic):
    assert HEAD_PARAMETERS == 162
    assert dynamic.heads(torch.randn(2, 12, 4, 4, 4)).shape == (2, 3, 162)
    assert dynamic.controller.in_features == 12 + 3  # the bottleneck's mean, and a one-hot


def test_tasks_and_images_have_heads_of_their_own(dynamic):
    heads = dynamic.heads(torch.rand(2, 12, 4, 4, 4))
    one, two, three = heads[0]
    assert min((one - two).abs().max(), (two - three).abs().max(), (one - three).abs().max()) > 0.01
    assert (heads[0] - heads[1]).abs().max() > 1e-3
    # what a task adds is the same for every image
    torch.testing.assert_close(heads[0, 0] - heads[0, 1], heads[1, 0] - heads[1, 1])


@torch.no_grad()
def test_the_head_is_three_convolutions_with_those_parameters(network, dynamic, images):
    features = dynamic.unet.encode(images)
    narrow = dynamic.narrow(dynamic.unet.decode(features)[-1])
    answers = network(images)
    assert (answers[:, 0] == 0).all()
    heads = dynamic.heads(features[-1])
    for image in range(2):
        for task in range(3):
            w1, b1, w2, b2, w3, b3 = heads[image, task].split([64, 8, 64, 8, 16, 2])
            x = functional.conv3d(narrow[image, None], w1.view(8, 8, 1, 1, 1), b1).relu()
            x = functional.conv3d(x, w2.view(8, 8, 1, 1, 1), b2).relu()
            x = functional.conv3d(x, w3.view(2, 8, 1, 1, 1), b3)
            expected = x.softmax(1)[0, 1]
            torch.testing.assert_close(answers[image, task + 1].sigmoid(), expected)


def test_in_training_it_answers_for_every_task_at_once(network, images):
    assert network.train()(images).shape == (2, 3, 16, 16, 16)
