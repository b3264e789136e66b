"""PIPO-FAN: its loss is the marginal cross-entropy, its slices see their neighbours alone."""

import pytest
import torch

from train.methods.rivals.pyramid import PyramidNet
from train.methods.table import new_network
from train.networks.network import NetworkSettings


def network(method):
    form = NetworkSettings((16, 32, 32), (2.0, 2.0, 2.0), (4, 8, 8, 8), method=method)
    return new_network(form, 3).eval()


@pytest.mark.parametrize("method", ["pipo_fan", "pipo_fan_3d"])
def test_the_target_adaptive_loss_is_the_marginal_cross_entropy(lesson, method):
    one = lesson(method)
    logits = torch.randn(2, 3, *one.batch.target.shape[1:], generator=torch.Generator())
    loss, terms = one.objective.loss(lambda _: logits, one.batch)
    p = logits.double().softmax(1)
    # the second case does not tell the spleen from the background
    unlabelled = torch.where(torch.tensor([False, True])[:, None, None, None], p[:, 2], 0.0)
    groups = torch.stack([p[:, 0] + unlabelled, p[:, 1], p[:, 2]], 1)
    expected = -groups.gather(1, one.batch.target[:, None]).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["marginal_cross_entropy"] == loss


def changed_slices(method):
    images = torch.randn(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    other = images.clone()
    other[:, :, 5] += 1.0 + images[:, :, 6]
    with torch.no_grad():
        difference = network(method)(images) - network(method)(other)
    return difference.abs().amax((0, 1, 3, 4)).gt(1e-5).nonzero().flatten().tolist()


def test_a_slice_sees_the_one_below_and_the_one_above_in_2d_and_all_in_3d():
    assert changed_slices("pipo_fan") == [4, 5, 6]
    assert changed_slices("pipo_fan_3d") == list(range(16))


def test_2d_kernels_stay_within_a_slice():
    sizes = {tuple(p.shape[2:]) for p in network("pipo_fan").parameters() if p.ndim == 5}
    assert sizes == {(1, 1, 1), (1, 3, 3)}
    sizes = {tuple(p.shape[2:]) for p in network("pipo_fan_3d").parameters() if p.ndim == 5}
    assert (3, 3, 3) in sizes


@pytest.mark.parametrize("method", ["pipo_fan", "pipo_fan_3d"])
def test_every_way_through_the_network_is_as_deep(method):
    pyramid = next(m for m in network(method).modules() if isinstance(m, PyramidNet))
    levels = len(pyramid.classifiers)
    assert levels >= 3
    # to level n lead n blocks from the full image; from level n lead the rest of them up
    assert [len(extra) for extra in pyramid.inputs] == list(range(levels - 1))
    assert [len(extra) for extra in pyramid.outputs] == list(range(levels))


def test_scales_are_weighed_by_a_softmax_that_one_network_scores():
    pyramid = next(m for m in network("pipo_fan_3d").modules() if isinstance(m, PyramidNet))
    scales = [torch.randn(2, 3, 4, 4, 4) * size for size in (1, 5, 9)]
    weights = pyramid.attention.weights(scales)
    assert weights.shape == (3, 2)
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    torch.testing.assert_close(pyramid.attention.weights(scales[::-1]), weights.flip(0))
    same = pyramid.attention([scales[0]] * 3)
    torch.testing.assert_close(same, scales[0])


def test_every_scale_of_the_input_reaches_the_answer():
    # a pattern finer than any scale but the first is averaged away by the pyramid: the others
    # answer as if it were not there
    pyramid = next(m for m in network("pipo_fan").modules() if isinstance(m, PyramidNet))
    seen = []
    pyramid.stem.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        pyramid(torch.randn(1, 3, 1, 32, 32))
    assert seen == [32, 16, 8, 4]
