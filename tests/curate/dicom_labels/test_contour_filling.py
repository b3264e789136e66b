"""The voxels that contours contain: known shapes, and skimage as another implementation."""

import numpy as np
import pytest
from skimage.measure import grid_points_in_poly

from curate.dicom_labels.contour_filling import filled

SHAPE = (20, 24)


def box(x0, x1, y0, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def inside(x, y):
    mask = np.zeros(SHAPE, bool)
    mask[y, x] = True
    return mask


def distance(points):
    """How far the voxels are from the nearest line of a contour [y, x]."""
    y, x = np.indices(SHAPE)
    to = np.stack([x, y], axis=-1)[..., None, :] - points
    along = np.roll(points, -1, axis=0) - points
    t = np.clip((to * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
    return np.linalg.norm(to - t[..., None] * along, axis=-1).min(axis=-1)


@pytest.mark.parametrize("seed", range(20))
def test_skimage_fills_the_same(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 30))
    radii = rng.uniform(1, 14, 30)  # beyond the slice, too
    points = np.stack([12 + radii * np.cos(angles), 9 + radii * np.sin(angles)], axis=1)
    if seed % 2:
        points = np.rint(points)  # many voxels on lines
    found, on_line = filled([points], SHAPE), distance(points) < 1e-3
    # skimage 0.26 takes some voxels on a line for inside, and some not
    expected = grid_points_in_poly(SHAPE, points[:, ::-1])
    np.testing.assert_array_equal(found[~on_line], expected[~on_line])
    assert found[on_line].all()
    assert on_line.sum() > 20 or not seed % 2


def test_lines_between_voxels_and_through_their_centres_enclose_the_same():
    expected = inside(slice(4, 9), slice(3, 7))
    for contour in (box(3.5, 8.5, 2.5, 6.5), box(4, 8, 3, 6), box(8, 4, 6, 3)):
        np.testing.assert_array_equal(filled([contour], SHAPE), expected)
    rounded = box(4, 8, 3, 6) + np.random.default_rng(0).uniform(-5e-4, 5e-4, (4, 2))
    np.testing.assert_array_equal(filled([rounded], SHAPE), expected)


def test_a_contour_within_another_is_a_hole_and_one_within_that_an_island():
    expected = inside(slice(2, 16), slice(2, 16))
    expected[5:12, 5:12] = False
    expected[7:10, 7:10] = True
    nested = [box(1.5, 15.5, 1.5, 15.5), box(4.5, 11.5, 4.5, 11.5), box(6.5, 9.5, 6.5, 9.5)]
    np.testing.assert_array_equal(filled(nested, SHAPE), expected)
    # drawn along the last voxels of the structure, those around a hole included
    traced = [box(2, 15, 2, 15), box(4, 12, 4, 12), box(7, 9, 7, 9)]
    np.testing.assert_array_equal(filled(traced, SHAPE), expected)


@pytest.mark.parametrize("gap", [0, 1e-4])
def test_a_keyhole_has_its_hole(gap):
    outer, hole = box(1.5, 15.5, 1.5, 15.5), box(4.5, 11.5, 4.5, 11.5)
    keyhole = np.concatenate([outer, outer[:1], hole[::-1], np.add(hole[-1:], (0, gap))])
    np.testing.assert_array_equal(filled([keyhole], SHAPE), filled([outer, hole], SHAPE))
    through_centres = np.array(
        [
            *([2, 2], [15, 2], [15, 8], [12, 8], [12, 4], [4, 4], [4, 12], [12, 12]),
            *([12, 8], [15, 8], [15, 15], [2, 15]),
        ],
        float,
    )
    expected = filled([box(2, 15, 2, 15), box(4, 12, 4, 12)], SHAPE)
    np.testing.assert_array_equal(filled([through_centres], SHAPE), expected)


@pytest.mark.parametrize(
    ("contour", "where"),
    [
        ([[5, 4]], inside(5, 4)),
        ([[5.3, 4.2]], inside(5, 4)),
        ([[5, 4], [9, 4]], inside(slice(5, 10), 4)),
        ([[5, 4], [5, 8]], inside(5, slice(4, 9))),
        ([[5.2, 4.2], [5.4, 4.2], [5.3, 4.4]], inside(5, 4)),
        ([[4.5, 4], [5, 3.5], [5.5, 4], [5, 4.5]], inside(5, 4)),  # as marching squares has it
    ],
)
def test_one_voxel_and_a_row_of_voxels_are_kept(contour, where):
    np.testing.assert_array_equal(filled([np.array(contour, float)], SHAPE), where)


def test_what_lies_outside_of_the_slice_is_left_out():
    np.testing.assert_array_equal(
        filled([box(-5, 3, -1e12, 4), box(30, 40, 3, 4)], SHAPE), inside(slice(4), slice(5))
    )
    assert filled([box(-50, 50, -50, 50)], SHAPE).all()
    assert not filled([np.array([[-3.0, 4.0]])], SHAPE).any()


def test_the_area_of_an_ellipse():
    t = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    points = np.stack([200.3 + 150 * np.cos(t), 180.7 + 90 * np.sin(t)], axis=1)
    assert filled([points], (400, 400)).sum() == pytest.approx(np.pi * 150 * 90, rel=5e-4)
