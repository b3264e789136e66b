"""Spatial augmentation: analytic shapes turned, scaled and bent, with known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

from train.augmentation.settings import AUGMENTATIONS
from train.augmentation.spatial import _shift, _spline_weights, draw_warp, resample
from train.boxes import PatchGrid, Placement, patch_box

SHAPE = (40, 50, 60)
SPACING = (3.0, 1.5, 1.5)
AIR = -7.0
NEVER = AUGMENTATIONS["none"]


def settings_of(**changes):
    return NEVER.model_copy(update=changes)


def warp_of(seed=0, size=(16, 20, 24), **changes):
    warp = draw_warp(settings_of(**changes), PatchGrid(size, SPACING), np.random.default_rng(seed))
    assert warp is not None
    return warp


def place(warp, centre, size):
    patch = patch_box(centre, size, SHAPE)
    return Placement(patch, centre, warp.source_box(patch, centre).within(SHAPE))


def make(image, label, warp, placement):
    parts = (torch.from_numpy(a)[placement.inside.slices] for a in (image, label))
    patches = resample(*parts, warp, placement=placement, outside=AIR)
    return tuple(patch.numpy() for patch in patches)


def positions(warp, placement):
    """Where each voxel of a patch is taken from, by the definition, in float64 [3, z, y, x]."""
    start, size = placement.patch
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    from_centre = voxels + np.array(start) - placement.centre_zyx
    moved = from_centre @ warp.matrix.T + placement.centre_zyx
    if warp.controls is not None:
        shift = _shift(warp, size, torch.device("cpu")).double().numpy()
        z, y, x = np.array(placement.centre_zyx) - start
        moved += np.moveaxis(shift - shift[:, z, y, x][:, None, None, None], 0, -1)
    return np.moveaxis(moved, -1, 0)


@pytest.fixture(scope="module")
def volume():
    generator = np.random.default_rng(0)
    image = generator.normal(size=SHAPE).astype(np.float32)
    return image, generator.integers(0, 9, SHAPE).astype(np.uint8)


def test_nothing_is_drawn_where_nothing_is_asked_for():
    assert draw_warp(NEVER, PatchGrid((8, 8, 8), SPACING), np.random.default_rng(0)) is None


@given(
    seed=st.integers(0, 1000),
    centre=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    elastic=st.booleans(),
)
@effort(max_examples=25, deadline=None)
def test_a_patch_is_what_scipy_takes_from_the_padded_volume(volume, seed, centre, elastic):
    image, label = volume
    warp = warp_of(
        seed,
        rotation=(1.0, -40.0, 40.0),
        scaling=(1.0, 0.7, 1.4),
        elastic=(float(elastic), 5.0, 15.0),
    )
    placement = place(warp, centre, (16, 20, 24))
    resampled, names = make(image, label, warp, placement)
    where = positions(warp, placement)
    expected = map_coordinates(image, where, order=1, mode="grid-constant", cval=AIR)
    np.testing.assert_allclose(resampled, expected, atol=2e-3)
    nearest = map_coordinates(label, where, order=0, mode="grid-constant", cval=0)
    # a position half way between two voxels may be rounded to either
    halves = (np.abs(where - np.floor(where) - 0.5) < 1e-3).any(axis=0)
    np.testing.assert_array_equal(names[~halves], nearest[~halves])
    assert halves.mean() < 0.05


@given(seed=st.integers(0, 1000), centre=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)))
@effort(max_examples=25, deadline=None)
def test_the_centre_stays_where_it_is(volume, seed, centre):
    image, label = volume
    warp = warp_of(
        seed, rotation=(1.0, -180.0, 180.0), scaling=(1.0, 0.7, 1.4), elastic=(1.0, 15.0, 15.0)
    )
    placement = place(warp, centre, (16, 20, 24))
    resampled, names = make(image, label, warp, placement)
    there = tuple(np.array(centre) - placement.patch.start_zyx)
    assert names[there] == label[centre]
    assert resampled[there] == pytest.approx(image[centre], abs=1e-3)


@given(seed=st.integers(0, 1000), centre=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)))
@effort(max_examples=50, deadline=None)
def test_the_source_box_holds_all_positions(seed, centre):
    warp = warp_of(
        seed, rotation=(1.0, -180.0, 180.0), scaling=(1.0, 0.5, 2.0), elastic=(0.5, 0.0, 19.0)
    )
    patch = patch_box(centre, (16, 20, 24), SHAPE)
    box = warp.source_box(patch, centre)
    where = positions(warp, Placement(patch, centre, box)).reshape(3, -1)
    assert (where.min(axis=1) >= box.start_zyx).all()
    assert (where.max(axis=1) <= np.array(box.start_zyx) + box.size_zyx - 1).all()


def test_an_angle_is_one_of_the_patient_whatever_the_spacing():
    warp = warp_of(rotation=(1.0, 30.0, 30.0))
    spacing = np.array(SPACING)
    turn = warp.matrix * spacing[:, None] / spacing
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)  # no mirror image


def test_few_slices_are_turned_scaled_and_bent_within_themselves():
    warp = warp_of(
        size=(12, 48, 48),
        rotation=(1.0, 30.0, 30.0),
        scaling=(1.0, 1.4, 1.4),
        elastic=(1.0, 12.0, 12.0),
    )
    half, root = 1.4 * 0.5, 1.4 * np.sqrt(0.75)
    expected = [[1, 0, 0], [0, root, half], [0, -half, root]]  # a quarter turn takes x to y
    np.testing.assert_allclose(np.abs(warp.matrix), np.abs(expected), atol=1e-12)
    assert np.sign(warp.matrix[1, 2]) == -np.sign(warp.matrix[2, 1])
    assert np.all(warp.controls[0] == 0)
    assert np.all(warp.controls[1:] != 0)


def test_above_1_things_become_smaller():
    image = np.zeros(SHAPE, np.float32)
    image[10:30, 15:35, 20:40] = 1
    placement = place(warp := warp_of(scaling=(1.0, 2.0, 2.0)), (20, 25, 30), (16, 20, 24))
    resampled, names = make(image, image.astype(np.uint8), warp, placement)
    assert names.sum() == pytest.approx(20**3 / 8, rel=0.15)
    assert resampled.sum() == pytest.approx(20**3 / 8, rel=0.15)


def test_a_ball_stays_a_ball_when_it_is_turned():
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    squared_mm = (3 * (z - 20)) ** 2 + (1.5 * (y - 25)) ** 2 + (1.5 * (x - 30)) ** 2
    ball = (squared_mm < 15**2).astype(np.uint8)
    warp = warp_of(rotation=(1.0, 35.0, 35.0))
    placement = place(warp, (20, 25, 30), (16, 24, 24))
    _, turned = make(ball.astype(np.float32), ball, warp, placement)
    untouched = ball[placement.patch.slices]
    dice = 2 * (turned & untouched).sum() / (turned.sum() + untouched.sum())
    assert dice > 0.93


def test_the_shift_is_a_cubic_b_spline():
    # against scipy's, on knots one control spacing apart
    weights = _spline_weights(70, 1.5)
    cells = weights.shape[1] - 3
    knots = np.arange(-3, cells + 4)
    expected = BSpline.design_matrix(np.arange(70) * 1.5 / 48, knots, 3).toarray()
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    np.testing.assert_allclose(weights.sum(1), 1)


def test_what_is_drawn_is_within_what_was_asked_for():
    angles, zooms = [], []
    for seed in range(300):
        warp = draw_warp(
            settings_of(rotation=(1.0, -30.0, 30.0)),
            PatchGrid((8, 32, 32), SPACING),
            np.random.default_rng(seed),
        )
        angles.append(np.degrees(np.arctan2(warp.matrix[2, 1], warp.matrix[1, 1])))
        warp = draw_warp(
            settings_of(scaling=(0.4, 0.7, 1.4)),
            PatchGrid((8, 8, 8), SPACING),
            np.random.default_rng(seed),
        )
        zooms += [] if warp is None else [warp.matrix[0, 0]]
    assert -30 <= min(angles) < -28
    assert 28 < max(angles) <= 30
    assert 0.7 <= min(zooms) < 0.73
    assert 1.37 < max(zooms) <= 1.4
    assert len(zooms) == pytest.approx(120, abs=30)


@pytest.mark.parametrize("most", [12.0, 19.0])
def test_the_elastic_deformation_does_not_fold_space(most):
    for seed in range(5):
        size = (32, 64, 64)
        warp = warp_of(seed, size=size, elastic=(1.0, most, most))
        shift = _shift(warp, size, torch.device("cpu")).double().numpy()
        gradients = np.stack([np.stack(np.gradient(b)) for b in shift])  # of what, along what
        jacobian = np.linalg.det(np.moveaxis(gradients, (0, 1), (-2, -1)) + np.eye(3))
        assert jacobian.min() > 0


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_same(volume):
    image, label = (torch.from_numpy(a) for a in volume)
    warp = warp_of(rotation=(1.0, -40.0, 40.0), elastic=(1.0, 12.0, 12.0))
    placement = place(warp, (20, 25, 30), (16, 20, 24))
    results = [
        resample(
            image[placement.inside.slices].to(device),
            label[placement.inside.slices].to(device),
            warp,
            placement=placement,
            outside=AIR,
        )
        for device in ("cpu", "cuda")
    ]
    (one, names), (other, other_names) = results
    torch.testing.assert_close(one, other.cpu(), atol=1e-3, rtol=1e-3)
    assert (names != other_names.cpu()).float().mean() < 1e-3
