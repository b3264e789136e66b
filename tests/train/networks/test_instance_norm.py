"""Instance norm with channels last: PyTorch's in float64, in values and gradients."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from train.networks.instance_norm import LAYOUT, InstanceNorm, _moments
from train.networks.network import NetworkSettings, build_network, for_device
from train.settings import resolve


def run(norm, images):
    norm = deepcopy(norm).to(images.dtype if images.dtype == torch.float64 else torch.float32)
    leaf = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    result = norm(leaf)
    torch.manual_seed(1)
    gradient = torch.randn(images.shape, dtype=torch.float64).to(result)
    result.backward(gradient)
    return result.detach(), leaf.grad, norm.weight.grad, norm.bias.grad


@pytest.mark.parametrize("shape", [(2, 5, 7, 90, 90), (1, 8, 1, 200, 200), (3, 4, 2, 2, 2)])
def test_it_is_pytorchs_in_float64(shape):
    torch.manual_seed(0)
    norm = InstanceNorm(shape[1], affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    images = 3 * torch.randn(shape) + 40  # far from 0, where sums of squares would cancel
    expected = run(norm, images.double())  # contiguous: PyTorch's own
    found = run(norm, images.contiguous(memory_format=LAYOUT))
    assert found[0].is_contiguous(memory_format=LAYOUT)
    assert found[1].is_contiguous(memory_format=LAYOUT)
    # PyTorch adds up the weights' gradients one voxel after the other
    for one, other, error in zip(found, expected, (3e-5, 3e-5, 1e-3, 1e-3), strict=True):
        assert (one - other).abs().max() < error * other.abs().max()


def test_sums_of_a_million_voxels_are_right():
    """PyTorch's batch norm, added up one by one, is wrong by 1e-3 here."""
    torch.manual_seed(0)
    images = 3 * torch.randn(1, 2, 64, 128, 128) + 7
    exact = functional.instance_norm(images.double())
    found = InstanceNorm(2, affine=True)(images.contiguous(memory_format=LAYOUT))
    assert (found - exact).abs().max() < 2e-5


def test_it_takes_bfloat16():
    torch.manual_seed(0)
    images = torch.randn(2, 8, 4, 16, 16).bfloat16()
    norm = InstanceNorm(8, affine=True)
    found = run(norm, images.contiguous(memory_format=LAYOUT))
    expected = run(norm, images.double())
    assert found[0].dtype == torch.bfloat16
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("size", [8, 200])  # all slices at once, and some at a time
def test_moments_of_bfloat16_are_not_rounded_to_it(size):
    torch.manual_seed(0)
    images = (3 * torch.randn(1, 4, 3, size, size) + 7).bfloat16()
    mean, variance = _moments(images.contiguous(memory_format=LAYOUT))
    assert mean.dtype == variance.dtype == torch.float32
    exact = torch.var_mean(images.double(), (0, 2, 3, 4), correction=0)
    assert (variance - exact[0]).abs().max() < 1e-3
    assert (mean - exact[1]).abs().max() < 1e-4


def test_a_network_is_the_same_in_both_layouts_and_keeps_names():
    settings = resolve("tiny", ["patch_size_zyx=16,32,32"])
    network = build_network(NetworkSettings.of(settings, (6.0, 6.0, 6.0)), 3, seed=1)
    assert {type(m) for m in network.modules() if isinstance(m, nn.InstanceNorm3d)} == {
        InstanceNorm
    }
    torch.manual_seed(0)
    images = torch.randn(2, 1, 16, 32, 32)

    def gradients():
        logits = network(images)
        network.zero_grad()
        logits.square().mean().backward()
        return logits.detach(), [p.grad.clone() for p in network.parameters()]

    contiguous = gradients()
    for_device(network, torch.device("cpu"))
    layouts = []
    for module in network.modules():
        if isinstance(module, InstanceNorm):
            module.register_forward_hook(lambda _m, _i, out: layouts.append(out.stride(1) == 1))
    last = gradients()
    assert layouts
    assert all(layouts)
    torch.testing.assert_close(last[0], contiguous[0], rtol=1e-4, atol=1e-4)
    for one, other in zip(last[1], contiguous[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
