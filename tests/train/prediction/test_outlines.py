"""Outlines go round whole pixels: areas are exact, and so is where a centre lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.prediction.outlines import outlines


def area(polygon):
    """The shoelace formula; what a keyhole joins counts with its sign."""
    x, y = polygon.T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def filled(polygon, shape):
    """The even-odd rule: inside is where a line to the left crosses an odd number of edges."""
    y, x = np.indices(shape)
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:  # all others stand upright
            assert x0 == x1
            inside ^= (min(y0, y1) < y) & (y < max(y0, y1)) & (x0 < x)
    return inside


masks = st.integers(0, 2**32).flatmap(
    lambda seed: st.builds(
        lambda h, w, share: np.random.default_rng(seed).random((h, w)) < share,
        *(st.integers(1, 12), st.integers(1, 12), st.sampled_from((0.3, 0.6, 0.8, 1.0))),
    )
)


@settings(deadline=None, max_examples=60)
@given(masks)
def test_every_mask_comes_back_and_no_two_polygons_overlap(mask):
    found = list(outlines(mask))
    total = sum((filled(p, mask.shape).astype(int) for p in found), np.zeros(mask.shape, int))
    assert np.array_equal(total, mask)
    assert sum(map(area, found)) == mask.sum()
    assert all(area(p) > 0 for p in found)


def test_one_pixel_is_a_square_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (square,) = outlines(mask)
    assert sorted(map(tuple, square)) == [(2.5, 1.5), (2.5, 2.5), (3.5, 1.5), (3.5, 2.5)]


def test_a_ring_is_one_polygon_with_a_channel_to_its_hole_and_an_island_is_another():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7], mask[4, 4] = False, True
    ring, island = sorted(outlines(mask), key=len, reverse=True)
    assert len(ring) == 4 + 4 + 2  # two squares, and both ends of the channel once more
    assert (area(ring), area(island)) == (81 - 25, 1)


@pytest.mark.parametrize("side", [1, 40])
def test_straight_sides_have_corners_only(side):
    (square,) = outlines(np.ones((side, side), bool))
    assert len(square) == 4
