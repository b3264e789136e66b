"""Probabilities on the scan's own grid: a linear field is interpolated exactly, on any grid."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.resampling.resampling import resample_linear
from manifests.volumes.volume import Volume
from train.prediction import native_grid
from train.prediction.class_field import class_field
from train.prediction.native_grid import most_probable as most_probable_of_field
from train.scoring.metrics import dice

COARSE_MM = (3.0, 3.0, 6.0)
TURN = np.deg2rad(20)
ABOUT_Z = np.array(((np.cos(TURN), -np.sin(TURN), 0), (np.sin(TURN), np.cos(TURN), 0), (0, 0, 1)))
ABOUT_X = np.array(((1, 0, 0), (0, np.cos(TURN), -np.sin(TURN)), (0, np.sin(TURN), np.cos(TURN))))
NATIVE = {
    # size, spacing, columns of the direction
    "fine": ((60, 56, 50), (0.8, 0.8, 1.25), np.eye(3)),
    "flipped": ((60, 56, 50), (0.8, 0.8, 1.25), np.diag([-1.0, 1.0, -1.0])),
    "slices first": ((12, 62, 50), (5.0, 0.9, 1.0), np.eye(3)[:, [2, 0, 1]]),
    "oblique": ((60, 56, 24), (0.9, 0.9, 2.5), ABOUT_Z),
    "doubly oblique": ((60, 56, 24), (0.9, 0.9, 2.5), ABOUT_Z @ ABOUT_X),
}


def most_probable(probs, grid, native):
    return most_probable_of_field(
        class_field([dict(enumerate(probs))], probs.shape[1:]), grid, native
    )


def native_of(name):
    size, spacing, direction = NATIVE[name]
    middle = (np.array(size) - 1) / 2 * np.array(spacing)
    return Grid(size, spacing, tuple(-direction @ middle), tuple(direction.ravel()))


def positions(grid):
    z, y, x = np.indices(grid.size_xyz[::-1])
    return grid.position_mm(np.stack([x, y, z], -1))


def soft_ball(grid, radius_mm, centre_mm=(1.0, 2.0, -1.5)):
    """Probability that falls through a half on the ball's surface, over 6 mm each way."""
    distance = np.linalg.norm(positions(grid) - centre_mm, axis=-1)
    ball = np.clip(0.5 - (distance - radius_mm) / 12, 0, 1)
    return torch.from_numpy(np.stack([1 - ball, ball])), distance <= radius_mm


@pytest.mark.parametrize("name", NATIVE)
def test_it_is_simpleitks_linear_interpolation_of_each_class(name):
    native = native_of(name)
    grid = harmonised_grid(native, COARSE_MM)
    probs = torch.rand(4, *grid.size_xyz[::-1], generator=torch.manual_seed(0)).softmax(0)
    probs = probs.half().float()  # as they are kept
    each = [resample_linear(Volume(p.numpy(), grid), native) for p in probs]
    expected = np.stack([p.voxels for p in each])
    found = most_probable(probs, grid, native)
    chosen = np.take_along_axis(expected, found[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, expected.max(0), atol=2e-5)


@pytest.mark.parametrize("name", NATIVE)
def test_borders_are_finer_than_the_networks_voxels(name):
    native = native_of(name)
    grid = harmonised_grid(native, COARSE_MM)
    probs, _ = soft_ball(grid, 14.0)
    _, truth = soft_ball(native, 14.0)
    found = most_probable(probs, grid, native)
    decided = grid.image(probs.argmax(0).to(torch.uint8).numpy())
    nearest = sitk.Resample(
        decided, native.image(found), sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    of_probabilities = dice(found == 1, truth)
    assert of_probabilities > 0.97
    assert 1 - of_probabilities < 0.5 * (1 - dice(sitk.GetArrayFromImage(nearest) == 1, truth))


@pytest.mark.parametrize("name", NATIVE)
def test_where_all_around_agree_interpolation_finds_no_other(name):
    native = native_of(name)
    grid = harmonised_grid(native, COARSE_MM)
    ball, _ = soft_ball(grid, 14.0)
    probs = torch.stack([ball[0], ball[1] * 0.6, ball[1] * 0.4]).half().float()
    each = [resample_linear(Volume(p.numpy(), grid), native) for p in probs]
    expected = np.stack([p.voxels for p in each])
    sure = np.diff(np.sort(expected, 0)[1:], axis=0)[0] > 1e-4
    found = most_probable(probs, grid, native)
    assert sure.mean() > 0.99
    assert set(np.unique(found)) == {0, 1}
    np.testing.assert_array_equal(found[sure], expected.argmax(0)[sure])


@pytest.mark.parametrize("name", ["slices first", "doubly oblique"])
def test_slabs_leave_no_trace(name, monkeypatch):
    native = native_of(name)
    grid = harmonised_grid(native, COARSE_MM)
    probs = torch.rand(3, *grid.size_xyz[::-1], generator=torch.manual_seed(1)).softmax(0)
    whole = most_probable(probs, grid, native)
    monkeypatch.setattr(native_grid, "SLAB_VOXELS", 1)  # one slice at a time
    slices = most_probable(probs, grid, native)
    assert (slices != whole).mean() < 1e-4  # where single precision decides


def test_a_class_that_is_likely_nowhere_near_does_not_cost_the_others_their_place():
    native = native_of("fine")
    grid = harmonised_grid(native, COARSE_MM)
    ball, _ = soft_ball(grid, 14.0)
    faint = torch.full_like(ball[:1], 0.01)
    probs = torch.cat([ball[:1] / 2, faint, ball[1:] / 2])  # which half precision rounds alike
    found = most_probable(probs, grid, native)
    assert set(np.unique(found)) == {0, 2}
    np.testing.assert_array_equal(found == 2, most_probable(ball, grid, native) == 1)


def test_a_grid_of_one_slice_and_one_network_voxel():
    grid = Grid((1, 1, 1), (3.0, 3.0, 3.0))
    native = Grid((3, 3, 1), (1.0, 1.0, 3.0), (-1.0, -1.0, 0.0))
    probs = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1)
    assert (most_probable(probs, grid, native) == 1).all()
