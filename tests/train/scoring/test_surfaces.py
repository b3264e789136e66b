"""Surfaces and the distances between them against their definitions written out."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from train.scoring import surfaces
from train.scoring.surfaces import nearest_mm, surface

SPACINGS_MM = [(1.5, 1.5, 3.0), (0.7, 0.9, 5.0), (2.0, 2.0, 2.0)]


def random_masks(seed, shape=(9, 11, 12), share=0.6):
    return np.random.default_rng(seed).random((2, *shape)) < share


def positions_mm(mask, spacing_mm):
    return np.argwhere(mask) * spacing_mm[::-1]


@pytest.mark.parametrize("seed", range(3))
def test_a_surface_voxel_has_one_of_six_neighbours_outside(seed):
    mask, _ = random_masks(seed, share=0.8)
    padded, found = np.pad(mask, 1), surface(mask)
    steps = [sign * row for row in np.eye(3, dtype=int) for sign in (1, -1)]
    for index in itertools.product(*map(range, mask.shape)):
        around = [padded[tuple(np.add(index, 1) + step)] for step in steps]
        assert found[index] == (mask[index] and not all(around))


def test_a_surface_is_what_erosion_takes():
    mask, _ = random_masks(7, share=0.9)
    np.testing.assert_array_equal(surface(mask), mask & ~binary_erosion(mask))


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("share", [0.002, 0.05, 0.5])
def test_distances_are_those_of_all_pairs(spacing_mm, share):
    for seed in range(5):
        start, goal = random_masks(seed, share=share)
        if goal.any():
            pairs = cdist(positions_mm(start, spacing_mm), positions_mm(goal, spacing_mm))
            found = nearest_mm(start, goal, spacing_mm=spacing_mm)
            np.testing.assert_allclose(found, pairs.min(axis=1), atol=1e-12)


def test_far_and_near_voxels_are_found_alike(monkeypatch):
    start, goal = random_masks(3, shape=(20, 30, 30), share=0.01)
    found = []
    for neighbours in (1, 30, 3000):  # from the tree alone to no tree at all
        monkeypatch.setattr(surfaces, "_NEIGHBOURS", neighbours)
        surfaces._neighbours.cache_clear()
        found.append(nearest_mm(start, goal, spacing_mm=(1.0, 1.5, 2.0)))
    surfaces._neighbours.cache_clear()
    for one in found:
        np.testing.assert_allclose(one, found[0], atol=1e-12)


def test_the_neighbours_are_a_whole_ball_in_order():
    steps, lengths_mm = surfaces._neighbours((3.0, 1.5, 1.5))
    assert (np.diff(lengths_mm) >= 0).all()
    assert not steps[0].any()
    box = np.indices((9, 15, 15)).reshape(3, -1).T - [4, 7, 7]
    inside = np.linalg.norm(box * (3.0, 1.5, 1.5), axis=1) <= lengths_mm[-1] + 1e-9
    assert len(steps) == inside.sum()


def test_no_voxel_to_start_from_is_no_distance():
    start, goal = np.zeros((2, 4, 4, 4), bool)
    goal[1, 1, 1] = True
    assert nearest_mm(start, goal, spacing_mm=(1.0, 1.0, 1.0)).size == 0
