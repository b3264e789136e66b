"""Network: kernels and strides as nnU-Net plans them, and any size of input."""

import pytest
import torch

from manifests.ground.errors import TrainingError
from train.networks.network import (
    NetworkSettings,
    build_network,
    for_device,
    plan_levels,
)

SMALL = NetworkSettings((16, 16, 16), (2.0, 2.0, 2.0), (4, 8, 8))


def strides(patch_size_zyx, spacing_mm, levels=6):
    settings = NetworkSettings(patch_size_zyx, spacing_mm, (8,) * levels)
    return [level.stride_zyx for level in plan_levels(settings)]


def kernels(patch_size_zyx, spacing_mm):
    settings = NetworkSettings(patch_size_zyx, spacing_mm, (8,) * 6)
    return [level.kernel_zyx for level in plan_levels(settings)]


def test_an_isotropic_patch_is_halved_alike_down_to_four_voxels():
    assert strides((32, 32, 32), (2.0, 2.0, 2.0)) == [(1, 1, 1), *[(2, 2, 2)] * 3]
    assert strides((128, 128, 128), (1.0, 1.0, 1.0)) == [(1, 1, 1), *[(2, 2, 2)] * 5]


def test_the_papers_patch_and_spacing():
    # z is twice as coarse as x and y: it is left alone once, and its first kernel is 1
    patch, spacing = (48, 190, 190), (1.5, 1.5, 3.0)
    assert strides(patch, spacing) == [
        (1, 1, 1),
        (1, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
        (1, 2, 2),
    ]
    assert kernels(patch, spacing) == [(1, 3, 3), *[(3, 3, 3)] * 5]


def test_spacing_is_given_as_x_y_z_and_patches_as_z_y_x():
    assert strides((64, 64, 64), (1.0, 1.0, 4.0))[1:3] == [(1, 2, 2), (1, 2, 2)]
    assert strides((64, 64, 64), (4.0, 1.0, 1.0))[1:3] == [(2, 2, 1), (2, 2, 1)]


def test_the_decoder_has_the_encoders_kernel_at_each_level():
    settings = NetworkSettings((16, 32, 32), (1.0, 1.0, 4.0), (4, 8, 8, 8))
    levels, unet = plan_levels(settings), build_network(settings, 3).unet
    assert [level.kernel_zyx for level in levels] == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    found = [up.conv_block.conv1.conv.kernel_size for up in reversed(unet.upsamples)]
    assert found == [level.kernel_zyx for level in levels[:-1]]


def test_there_are_no_more_levels_than_filters():
    assert len(strides((128, 128, 128), (1.0, 1.0, 1.0), levels=4)) == 4


def test_a_patch_too_small_for_three_levels_is_refused():
    with pytest.raises(TrainingError, match=r"allows 2 levels, expected at least 3; set patch"):
        plan_levels(NetworkSettings((8, 8, 8), (1.0, 1.0, 1.0), (4, 8, 8)))


def test_deep_supervision_answers_at_every_level_but_the_coarsest_in_training_alone():
    settings = NetworkSettings((32, 32, 32), (1.0,) * 3, (4, 8, 8, 8), deep_supervision=True)
    network, images = build_network(settings, 3), torch.randn(2, 1, 32, 32, 32)
    assert [tuple(level.shape) for level in network(images)] == [
        (2, 3, 32, 32, 32),
        (2, 3, 16, 16, 16),
    ]
    assert network.eval()(images).shape == (2, 3, 32, 32, 32)


def test_deep_supervision_refuses_a_patch_that_would_be_padded():
    settings = NetworkSettings((32, 36, 32), (1.0,) * 3, (4, 8, 8, 8), deep_supervision=True)
    with pytest.raises(TrainingError, match=r"multiple of \(8, 8, 8\).*got \(32, 36, 32\)"):
        build_network(settings, 3)


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 16, 19), (5, 21, 6)])
def test_logits_have_the_size_of_the_images(size):
    network = build_network(SMALL, 4).eval()
    assert network(torch.randn(2, 1, *size)).shape == (2, 4, *size)


def test_padding_repeats_the_border_and_is_cropped_again():
    network = build_network(SMALL, 4).eval()
    images = torch.randn(1, 1, 15, 16, 14)
    padded = torch.nn.functional.pad(images, (0, 2, 0, 0, 0, 1), mode="replicate")
    torch.testing.assert_close(network(images), network(padded)[..., :15, :, :14])


def test_the_seed_decides_the_weights_and_pytorchs_generator_is_left_alone():
    state = torch.get_rng_state()
    one, other, third = (build_network(SMALL, 3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(zip(one.parameters(), other.parameters(), third.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_the_memory_layout_does_not_change_the_answer():
    images = torch.randn(1, 1, 16, 16, 16)
    network = build_network(SMALL, 3).eval()
    expected = network(images)
    laid_out = for_device(network, torch.device("cpu"))(images)
    torch.testing.assert_close(laid_out, expected, rtol=1e-4, atol=1e-4)
