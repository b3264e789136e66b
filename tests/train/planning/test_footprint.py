"""Footprint: what is traced on the meta device is what a real step does."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from train.networks.network import NetworkSettings, build_network
from train.planning.footprint import footprint

FORM = NetworkSettings((16, 24, 16), (2.0, 2.0, 2.0), (4, 8, 8))


def traced(form=FORM, *, batch_size=2, optimiser="adam", half=False):
    return footprint(form, 3, batch_size=batch_size, optimiser=optimiser, half=half)


def test_activations_are_those_that_a_real_forward_pass_keeps():
    network, kept = build_network(FORM, 3), {}

    def keep(tensor):
        kept[tensor.data_ptr(), tuple(tensor.shape)] = tensor
        return tensor

    weights = {p.data_ptr() for p in network.parameters()}
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.randn(2, 1, *FORM.patch_size_zyx))
    seen = sum(t.numel() for (place, _), t in kept.items() if place not in weights)
    expected = 4 * (seen + 2 * logits.numel())
    assert traced().activation_bytes == pytest.approx(expected, rel=0.02)


def test_weights_count_with_their_gradients_and_the_optimisers_state():
    count = sum(p.numel() for p in build_network(FORM, 3).parameters())
    assert traced().parameters == count
    assert traced(optimiser="adam").weight_bytes == 16 * count
    assert traced(optimiser="sgd").weight_bytes == 12 * count


def test_work_and_activations_grow_with_the_batch_and_weights_do_not():
    one, four = traced(batch_size=1), traced(batch_size=4)
    assert four.flops == 4 * one.flops
    assert four.activation_bytes == pytest.approx(4 * one.activation_bytes, rel=0.01)
    assert four.weight_bytes == one.weight_bytes


def test_half_precision_halves_what_the_network_keeps():
    assert 0.5 < traced(half=True).activation_bytes / traced().activation_bytes < 0.6
