"""The metrics against shapes with known answers, and against other programs' definitions."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance

from train.scoring.metrics import METRICS, SCALES, diagonal_mm, dice, measure

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


# --- known answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "step_mm"), [(0, 3.0), (1, 1.5), (2, 1.5)])
def test_shifted_cubes_are_the_shift_apart(axis, step_mm):
    corner = [8, 8, 8]
    corner[axis] += 4
    found = measure(cube(), cube(corner=corner), spacing_mm=SPACING_MM)
    # the far face is a fifth of the surface, so its distance is also the 95th percentile
    assert (found["hausdorff_mm"], found["hd95_mm"]) == pytest.approx((4 * step_mm, 4 * step_mm))
    assert (found["dice"], found["iou"]) == pytest.approx((0.6, 6 / 14))


def test_every_metric_of_two_slabs_by_hand():
    # 1 voxel thick, so all of them is surface: 10 x 10 voxels, and the same with 5 columns beyond
    one, other = np.zeros((2, 5, 20, 20), bool)
    one[2, :10, :10], other[2, :10, :15] = True, True
    found = measure(one, other, spacing_mm=(2.0, 1.0, 3.0), tolerance_mm=4.0)
    beyond = [2.0, 4.0, 6.0, 8.0, 10.0]  # of the other's columns; ten voxels in each
    assert found["dice"] == pytest.approx(200 / 250)
    assert found["iou"] == pytest.approx(100 / 150)
    assert found["hausdorff_mm"] == 10.0
    assert found["hd95_mm"] == pytest.approx(np.percentile([0.0] * 100 + beyond * 10, 95)) == 10.0
    assert found["assd_mm"] == pytest.approx(10 * sum(beyond) / 250)
    assert found["nsd"] == pytest.approx((100 + 100 + 20) / 250)


def test_the_percentile_is_the_greater_of_both_directions():
    # pooled, the 95th percentile would be 0: 10 of 210 voxels are away
    one, other = np.zeros((2, 3, 12, 30), bool)
    one[1, :10, :10], other[1, :10, :11] = True, True
    assert measure(one, other, spacing_mm=(1.0, 1.0, 1.0))["hd95_mm"] == 1.0


def test_a_diagonal_shift_is_measured_in_space():
    found = measure(cube(), cube(corner=(9, 10, 11)), spacing_mm=SPACING_MM)
    assert found["hausdorff_mm"] == pytest.approx(math.hypot(1 * 3.0, 2 * 1.5, 3 * 1.5))


def test_concentric_balls_are_the_difference_of_radii_apart():
    found = measure(ball(15.0), ball(21.0), spacing_mm=SPACING_MM)
    distances = found["hausdorff_mm"], found["hd95_mm"], found["assd_mm"]
    assert distances == pytest.approx((6.0, 6.0, 6.0), abs=1.5)
    assert found["dice"] == pytest.approx(2 * 15**3 / (15**3 + 21**3), abs=0.02)
    for tolerance_mm, expected in ((3.0, 0.0), (8.0, 1.0)):
        nsd = measure(ball(15.0), ball(21.0), spacing_mm=SPACING_MM, tolerance_mm=tolerance_mm)[
            "nsd"
        ]
        assert nsd == expected


def test_equal_masks_are_perfect():
    found = measure(ball(15.0), ball(15.0), spacing_mm=SPACING_MM, tolerance_mm=0.0)
    assert found == {metric: SCALES[metric].best for metric in METRICS}


def test_one_stray_voxel_moves_hausdorff_but_not_hd95():
    stray = cube()
    stray[8, 8, 29] = True
    found = measure(stray, cube(), spacing_mm=SPACING_MM)
    assert (found["hausdorff_mm"], found["hd95_mm"]) == pytest.approx((12 * 1.5, 0.0))
    assert found["assd_mm"] == pytest.approx(12 * 1.5 / (2 * 488 + 1))


def test_the_edge_of_the_volume_is_surface():
    inner = cube(shape=(12, 12, 12), corner=(1, 1, 1), side=10)
    found = measure(np.ones((12, 12, 12), bool), inner, spacing_mm=(1.0, 1.0, 1.0))
    assert found["hausdorff_mm"] == pytest.approx(math.sqrt(3))


def test_a_wider_field_of_view_changes_nothing():
    one, other = blobs(0)
    wide = [np.pad(mask, ((3, 9), (20, 0), (1, 5))) for mask in (one, other)]
    expected = measure(one, other, spacing_mm=SPACING_MM)
    assert measure(*wide, spacing_mm=SPACING_MM) == pytest.approx(expected)


def test_a_distance_of_exactly_the_tolerance_is_within_it():
    one, other = cube(), cube(corner=(8, 8, 11))
    assert one.ndim * 1.1 > 3.3  # as three steps are, in floating point
    assert measure(one, other, spacing_mm=(1.1, 5.0, 5.0), tolerance_mm=3.3)["nsd"] == 1.0
    assert measure(one, other, spacing_mm=(1.1, 5.0, 5.0), tolerance_mm=3.2)["nsd"] < 1.0


def test_empty_masks():
    assert all(map(math.isnan, measure(EMPTY, EMPTY, spacing_mm=SPACING_MM).values()))
    worst = (0.0, 0.0, math.inf, math.inf, math.inf, 0.0)
    expected = dict(zip(METRICS, worst, strict=True))
    assert measure(EMPTY, DOT, spacing_mm=SPACING_MM) == expected
    assert measure(DOT, EMPTY, spacing_mm=SPACING_MM) == expected


def test_the_diagonal_is_the_greatest_distance_of_two_voxels():
    corners = np.zeros((2, 5, 6, 7), bool)
    corners[0, 0, 0, 0] = corners[1, -1, -1, -1] = True
    found = measure(*corners, spacing_mm=SPACING_MM)
    assert found["hausdorff_mm"] == pytest.approx(diagonal_mm((5, 6, 7), SPACING_MM))
    assert diagonal_mm((3, 1, 5), (1.0, 9.0, 1.5)) == pytest.approx(5.0)


@given(seed=st.integers(0, 10**6), share=st.floats(0.3, 0.95))
@settings(max_examples=25, deadline=None)
def test_what_holds_for_any_two_masks(seed, share):
    one, other = blobs(seed, share=share)
    found = measure(one, other, spacing_mm=SPACING_MM, tolerance_mm=2.0)
    back = measure(other, one, spacing_mm=SPACING_MM, tolerance_mm=2.0)
    assert found == pytest.approx(back)
    assert found["iou"] <= found["dice"] <= 1
    assert found["iou"] == pytest.approx((one & other).sum() / (one | other).sum())
    assert 0 <= found["assd_mm"] <= found["hausdorff_mm"]
    assert found["hd95_mm"] <= found["hausdorff_mm"]
    flipped = measure(one[::-1], other[::-1], spacing_mm=SPACING_MM, tolerance_mm=2.0)
    assert flipped == pytest.approx(found)
    larger = measure(one, other, spacing_mm=[2 * s for s in SPACING_MM], tolerance_mm=4.0)
    assert larger["assd_mm"] == pytest.approx(2 * found["assd_mm"])
    assert larger["nsd"] == found["nsd"]


# --- other programs ---------------------------------------------------------------------------


def monai(one, other, *, tolerance_mm, spacing_mm=SPACING_MM, use_subvoxels=False):
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    how = {"include_background": True, "spacing": spacing_mm[::-1]}
    return (
        compute_hausdorff_distance(*tensors, **how).item(),
        compute_hausdorff_distance(*tensors, percentile=95, **how).item(),
        compute_average_surface_distance(*tensors, symmetric=True, **how).item(),
        compute_surface_dice(*tensors, [tolerance_mm], use_subvoxels=use_subvoxels, **how).item(),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("spacing_mm", [SPACING_MM, (0.7, 0.9, 5.0)])
def test_distances_and_nsd_are_monais(seed, share, spacing_mm):
    one, other = blobs(seed, share=share)
    found = measure(one, other, spacing_mm=spacing_mm, tolerance_mm=1.6)
    expected = monai(one, other, tolerance_mm=1.6, spacing_mm=spacing_mm)
    assert list(found.values())[2:] == pytest.approx(
        expected, rel=1e-5
    )  # MONAI's are of single precision


def set_distance_mm(one, other):
    """SimpleITK's Hausdorff distance, which is of the masks and not of their surfaces."""
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (one, other)]
    for image in images:
        image.SetSpacing(SPACING_MM)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    return hausdorff.GetHausdorffDistance()


def test_hausdorff_is_simpleitks_where_it_is_outside_of_the_overlap():
    for one, other in ((ball(15.0), ball(21.0)), (cube(), cube(corner=(9, 10, 15)))):
        found = measure(one, other, spacing_mm=SPACING_MM)["hausdorff_mm"]
        assert found == pytest.approx(set_distance_mm(one, other))


def test_hausdorff_of_surfaces_sees_a_hole_that_hausdorff_of_masks_does_not():
    # each voxel of the hole is a step from the mask around it, but the hole's rim, above and
    # below it, is five steps from the outer surface, which is all that the filled cube has
    hollow, filled = cube(side=12), cube(side=12)
    hollow[13:15, 13:15, 13:15] = False
    assert set_distance_mm(hollow, filled) == pytest.approx(1.5)
    found = measure(hollow, filled, spacing_mm=SPACING_MM)["hausdorff_mm"]
    assert found == pytest.approx(5 * 1.5)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_surface_elements_at_voxel_corners_are_nearer_to_each_other(shift):
    """DeepMind's surface, at the corners between mask and background, is two corners thick.

    So its NSD is not below ours, and the Hausdorff distance, at the outermost corners of both
    surfaces, is the same to a voxel.
    """
    one, other = ball(15.0), np.roll(ball(17.0), round(shift), axis=2)
    tolerance_mm = 1.5
    ours = measure(one, other, spacing_mm=SPACING_MM, tolerance_mm=tolerance_mm)
    theirs = monai(one, other, tolerance_mm=tolerance_mm, use_subvoxels=True)
    assert ours["nsd"] <= theirs[3]
