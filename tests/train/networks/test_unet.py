"""U-Net: MONAI's DynUNet in each parameter, logit and gradient, but for the decoder's kernels."""

import pytest
import torch
from monai.networks.nets.dynunet import DynUNet

from train.networks.unet import Level, UNet

ISOTROPIC = [(3, 3, 3)] * 4
FLAT = [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
STRIDES = {
    "isotropic": [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)],
    "flat": [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2)],
}
FILTERS = (4, 8, 8, 12)


def ours(kernels, strides, **options):
    torch.manual_seed(3)
    levels = [Level(*level) for level in zip(kernels, strides, strict=True)]
    return UNet(levels, FILTERS, 5, **options)


def monais(kernels, strides, *, residual=False, upsampling_bias=False, deep_supervision=False):
    torch.manual_seed(3)
    return DynUNet(
        3, 1, 5, kernels, strides, strides[1:], FILTERS,
        res_block=residual, trans_bias=upsampling_bias, deep_supervision=deep_supervision,
    )  # fmt: skip


@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_monais_bit_for_bit(strides, residual, bias):
    options = {"residual": residual, "upsampling_bias": bias, "deep_supervision": True}
    own, other = ours(ISOTROPIC, strides, **options), monais(ISOTROPIC, strides, **options)
    assert [n for n, _ in own.named_parameters()] == [n for n, _ in other.named_parameters()]
    pairs = list(zip(own.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)  # one seed draws the same weights

    images = torch.randn(2, 1, 16, 16, 16)
    expected = other.output_block(other.skip_layers(images)), other.heads[0]  # not resampled
    found = own(images)
    for network_logits in (expected, found):
        torch.stack([logits.square().mean() for logits in network_logits]).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for one, other_one in pairs:
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other_one.grad, rtol=0, atol=0)
    assert torch.equal(own.eval()(images), other.eval()(images))


def test_without_deep_supervision_it_is_monais_too():
    own, other = (make(ISOTROPIC, STRIDES["flat"]) for make in (ours, monais))
    images = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(own(images), other(images))


def test_the_decoder_has_nnunets_kernels_where_monais_has_those_of_the_level_below():
    def finest(unet):
        return unet.upsamples[-1].conv_block.conv1.conv.kernel_size

    kernels = [FLAT[0], *ISOTROPIC[1:]]
    assert finest(ours(kernels, STRIDES["isotropic"])) == (1, 3, 3)
    assert finest(monais(kernels, STRIDES["isotropic"])) == (3, 3, 3)


def test_the_decoder_leaves_the_encoders_features_as_they_are():
    unet = ours(FLAT, STRIDES["flat"])
    features = unet.encode(torch.randn(1, 1, 8, 16, 16))
    assert [f.shape[1] for f in unet.decode(features)] == [8, 8, 4]
    assert [f.shape[1] for f in features] == [4, 8, 8, 12]
