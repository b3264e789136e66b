"""The metrics against shapes with known answers, the definition written out, and MONAI."""

import itertools
import math

import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance

from train import metrics
from train.metrics import diagonal_mm, dice, surface_distance

SPACING_MM = (1.5, 1.5, 3.0)


def cube(shape=(30, 30, 30), corner=(8, 8, 8), side=10):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(c, c + side) for c in corner)] = True
    return mask


def ball(radius_mm, shape=(21, 41, 41), spacing_mm=SPACING_MM):
    steps = [(np.arange(n) - n // 2) * s for n, s in zip(shape, spacing_mm[::-1], strict=True)]
    return sum(g**2 for g in np.meshgrid(*steps, indexing="ij")) <= radius_mm**2


def blobs(seed, shape=(9, 11, 12), share=0.5):
    """Two random blobs that overlap and touch the edges of the volume."""
    generator = np.random.default_rng(seed)
    noise = generator.random((2, *shape))
    smooth = sum(np.roll(noise, shift, axis) for axis in (1, 2, 3) for shift in (-1, 0, 1))
    return smooth > np.quantile(smooth, share)


EMPTY = np.zeros((5, 6, 7), bool)
DOT = EMPTY.copy()
DOT[2, 3, 4] = True


# --- Dice -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 0.7), (10, 0.0)])
def test_dice_of_shifted_cubes(shift, expected):
    assert dice(cube(), cube(corner=(8, 8, 8 + shift))) == pytest.approx(expected)


def test_dice_of_a_part():
    assert dice(cube(side=5), cube(side=10)) == pytest.approx(2 * 125 / 1125)


def test_dice_of_empty_masks():
    assert math.isnan(dice(EMPTY, EMPTY))
    assert dice(EMPTY, DOT) == dice(DOT, EMPTY) == 0.0


# --- surface distances: known answers ---------------------------------------------------------


@pytest.mark.parametrize(("axis", "step_mm"), [(0, 3.0), (1, 1.5), (2, 1.5)])
def test_shifted_cubes_are_the_shift_apart(axis, step_mm):
    corner = [8, 8, 8]
    corner[axis] += 4
    found = surface_distance(cube(), cube(corner=corner), spacing_mm=SPACING_MM)
    # the far face is a fifth of the surface, so its distance is also the 95th percentile
    assert found == pytest.approx((4 * step_mm, 4 * step_mm))


def test_a_diagonal_shift_is_measured_in_space():
    found = surface_distance(cube(), cube(corner=(9, 10, 11)), spacing_mm=SPACING_MM)
    assert found.hausdorff_mm == pytest.approx(math.hypot(1 * 3.0, 2 * 1.5, 3 * 1.5))


def test_concentric_balls_are_the_difference_of_radii_apart():
    found = surface_distance(ball(15.0), ball(21.0), spacing_mm=SPACING_MM)
    assert found.hausdorff_mm == pytest.approx(6.0, abs=1.5)
    assert found.hd95_mm == pytest.approx(6.0, abs=1.5)


def test_equal_masks_are_not_apart():
    assert surface_distance(ball(15.0), ball(15.0), spacing_mm=SPACING_MM) == (0.0, 0.0)


def test_one_stray_voxel_moves_hausdorff_but_not_hd95():
    stray = cube()
    stray[8, 8, 29] = True
    found = surface_distance(stray, cube(), spacing_mm=SPACING_MM)
    assert found == pytest.approx((12 * 1.5, 0.0))


def test_the_edge_of_the_volume_is_surface():
    inner = cube(shape=(12, 12, 12), corner=(1, 1, 1), side=10)
    found = surface_distance(np.ones((12, 12, 12), bool), inner, spacing_mm=(1.0, 1.0, 1.0))
    assert found.hausdorff_mm == pytest.approx(math.sqrt(3))


def test_a_wider_field_of_view_changes_nothing():
    one, other = blobs(0)
    wide = [np.pad(mask, ((3, 9), (20, 0), (1, 5))) for mask in (one, other)]
    expected = surface_distance(one, other, spacing_mm=SPACING_MM)
    assert surface_distance(*wide, spacing_mm=SPACING_MM) == pytest.approx(expected)


def test_distances_of_empty_masks():
    assert all(map(math.isnan, surface_distance(EMPTY, EMPTY, spacing_mm=SPACING_MM)))
    assert surface_distance(EMPTY, DOT, spacing_mm=SPACING_MM) == (math.inf, math.inf)
    assert surface_distance(DOT, EMPTY, spacing_mm=SPACING_MM) == (math.inf, math.inf)


def test_the_diagonal_is_the_greatest_distance_of_two_voxels():
    corners = np.zeros((2, 5, 6, 7), bool)
    corners[0, 0, 0, 0] = corners[1, -1, -1, -1] = True
    found = surface_distance(*corners, spacing_mm=SPACING_MM)
    assert found.hausdorff_mm == pytest.approx(diagonal_mm((5, 6, 7), SPACING_MM))
    assert diagonal_mm((3, 1, 5), (1.0, 9.0, 1.5)) == pytest.approx(5.0)


# --- surface distances: oracles ---------------------------------------------------------------


def surface_by_loop(mask, spacing_mm):
    """Positions of voxels that have one of their six neighbours outside the mask."""
    padded = np.pad(mask, 1)
    steps = [
        s for axis in range(3) for s in (np.eye(3, dtype=int)[axis], -np.eye(3, dtype=int)[axis])
    ]
    return [
        np.multiply(index, spacing_mm[::-1])
        for index in itertools.product(*map(range, mask.shape))
        if mask[index] and not all(padded[tuple(np.add(index, 1) + s)] for s in steps)
    ]


def distances_by_loop(prediction, truth, spacing_mm):
    one, other = (surface_by_loop(mask, spacing_mm) for mask in (prediction, truth))
    there = [min(np.linalg.norm(p - q) for q in other) for p in one]
    back = [min(np.linalg.norm(p - q) for q in one) for p in other]
    return max(there + back), max(np.percentile(there, 95), np.percentile(back, 95))


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_the_definition(seed):
    one, other = blobs(seed, shape=(5, 6, 7), share=0.7)
    expected = distances_by_loop(one, other, SPACING_MM)
    assert surface_distance(one, other, spacing_mm=SPACING_MM) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_distances_are_monais(seed, share):
    one, other = blobs(seed, share=share)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    expected = [
        compute_hausdorff_distance(
            *tensors, include_background=True, percentile=p, spacing=SPACING_MM[::-1]
        ).item()
        for p in (None, 95)
    ]
    found = surface_distance(one, other, spacing_mm=SPACING_MM)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_tree_and_distance_transform_agree(seed, monkeypatch):
    found = []
    for cost in (0, 10**9):  # always the tree, always the transform
        monkeypatch.setattr(metrics, "_VOXELS_PER_POINT", cost)
        found.append(surface_distance(*blobs(seed, share=0.8), spacing_mm=SPACING_MM))
    assert found[0] == pytest.approx(found[1])
