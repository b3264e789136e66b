"""Kidneys of known shape and place, seen through every kind of header."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.kidneys.split import LEFT, RIGHT, UNDECIDED, KidneySplit, split_kidneys
from manifests.ground.errors import OverrideError
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume
from tests.oriented import oriented

CODES = [
    "".join(letters) for pairs in permutations(("LR", "PA", "SI")) for letters in product(*pairs)
]
UPRIGHT = Grid((100, 44, 48), (3.0, 3.0, 4.0), (-148.5, -64.5, -94.0))


def positions(grid: Grid) -> np.ndarray:
    return grid.position_mm(np.indices(grid.size_xyz[::-1]).transpose(1, 2, 3, 0)[..., ::-1])


def ellipsoid(centre_mm, radii_mm, grid: Grid = UPRIGHT) -> np.ndarray:
    offset = (positions(grid) - np.array(centre_mm)) / np.array(radii_mm)
    return (offset**2).sum(axis=-1) <= 1


def box(low_mm, high_mm, grid: Grid = UPRIGHT) -> np.ndarray:
    where = positions(grid)
    return ((where >= low_mm) & (where <= high_mm)).all(axis=-1)


def split(*shapes: np.ndarray, grid: Grid = UPRIGHT, **options) -> tuple[np.ndarray, KidneySplit]:
    mask = np.logical_or.reduce(shapes)
    result = split_kidneys(Volume(mask.astype(np.uint8), grid), **options)
    labels = result.labels.voxels
    assert np.array_equal(labels > 0, mask)
    assert result.labels.grid == grid
    return labels, result


def codes(result: KidneySplit) -> list[str]:
    return [finding.code for finding in result.findings]


def pair(grid: Grid = UPRIGHT) -> tuple[np.ndarray, np.ndarray]:
    # the right kidney is the lower one, and smaller
    return ellipsoid((70, 10, 20), (28, 24, 52), grid), ellipsoid((-50, 5, -10), (24, 22, 46), grid)


def test_pair_is_told_apart():
    left, right = pair()
    labels, result = split(left, right)
    assert np.array_equal(labels == LEFT, left)
    assert np.array_equal(labels == RIGHT, right)
    assert labels.dtype == np.uint8
    assert (result.method, codes(result)) == ("pair", [])


@pytest.mark.parametrize("code", CODES)
def test_sides_do_not_depend_on_the_order_of_the_axes(code):
    left, right = pair()
    turned = oriented(Volume((left | right).astype(np.uint8), UPRIGHT), code)
    labels = oriented(split_kidneys(turned).labels, "LPS")
    expected = np.where(left, LEFT, np.where(right, RIGHT, 0))
    assert np.array_equal(labels.voxels, expected)


@pytest.mark.parametrize("turn", [(0.3, 0.0, 0.0), (0.2, -0.3, 0.5), (0.0, 0.0, 1.2)])
def test_sides_in_an_oblique_volume(turn):
    rotation = sitk.Euler3DTransform((0, 0, 0), *turn).GetMatrix()
    size, spacing = (84, 84, 84), (3.0, 3.0, 3.0)
    centre = Grid(size, spacing, direction_lps=rotation).position_mm([41.5, 41.5, 41.5])
    grid = Grid(size, spacing, tuple(-centre), rotation)
    left, right = pair(grid)
    labels, result = split(left, right, grid=grid)
    assert np.array_equal(labels == LEFT, left)
    assert np.array_equal(labels == RIGHT, right)
    assert result.method == "pair"


def test_mirrored_header_swaps_the_sides():
    left, right = pair()
    mirrored = Grid(
        UPRIGHT.size_xyz, UPRIGHT.spacing_mm, UPRIGHT.origin_mm, (-1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    labels, _ = split(left, right, grid=mirrored)
    assert np.array_equal(labels == RIGHT, left)
    assert np.array_equal(labels == LEFT, right)


@pytest.mark.parametrize("shift_mm", [-30, 0, 30])
def test_pair_far_from_the_middle_is_ordered_by_position(shift_mm):
    left = ellipsoid((55 + shift_mm, 0, 0), (25, 25, 50))
    right = ellipsoid((-25 + shift_mm, 0, 0), (25, 25, 50))
    labels, result = split(left, right)
    assert np.array_equal(labels == LEFT, left)
    assert "kidneys_same_side" not in codes(result)


def test_two_kidneys_on_one_side():
    lateral, medial = ellipsoid((105, 0, 0), (22, 25, 50)), ellipsoid((55, 0, 0), (22, 25, 50))
    labels, result = split(lateral, medial)
    assert np.array_equal(labels == LEFT, lateral)
    assert np.array_equal(labels == RIGHT, medial)
    assert codes(result) == ["kidneys_same_side"]


def test_crossed_kidneys_one_above_the_other_stay_undecided():
    upper, lower = ellipsoid((60, 0, 45), (22, 22, 40)), ellipsoid((45, 0, -50), (22, 22, 40))
    labels, result = split(upper, lower)
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert (result.method, codes(result)) == ("undecided", ["kidneys_same_side"])
    labels, _ = split(upper, lower, decision="pair")
    assert np.array_equal(labels == LEFT, upper)


def test_kidneys_near_the_middle_one_above_the_other_stay_undecided():
    upper, lower = ellipsoid((10, 0, 45), (22, 22, 40)), ellipsoid((-10, 0, -50), (22, 22, 40))
    labels, result = split(upper, lower)
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert codes(result) == ["kidney_side_unclear"]


@pytest.mark.parametrize(("x_mm", "side"), [(60, LEFT), (-60, RIGHT)])
def test_single_kidney_is_named_by_the_middle(x_mm, side):
    kidney = ellipsoid((x_mm, 0, 0), (28, 25, 52))
    labels, result = split(kidney)
    assert np.array_equal(labels == side, kidney)
    assert (result.method, codes(result)) == ("single", ["single_kidney"])


def test_single_kidney_near_the_middle_stays_undecided():
    labels, result = split(ellipsoid((10, 0, 0), (28, 25, 52)))
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert (result.method, codes(result)) == ("undecided", ["kidney_side_unclear"])


FINE = Grid((300, 33, 14), (1.0, 4.0, 15.0), (-149.5, -64.0, -97.5))  # the image's own grid


def test_body_in_the_image_moves_the_midline():
    body = ellipsoid((55, 0, 0), (90, 60, 300), FINE)
    hounsfield = Volume(np.where(body, 40, -1000).astype(np.int16), FINE)
    kidney = ellipsoid((20, 0, 0), (18, 25, 52))
    labels, result = split(kidney, image=hounsfield)
    assert np.array_equal(labels == RIGHT, kidney)
    assert codes(result) == ["single_kidney"]
    assert "35 mm right of the body's midline" in result.findings[0].reason
    assert codes(split(kidney)[1]) == ["kidney_side_unclear"]


def test_midline_is_the_bodys_at_the_height_of_the_kidney():
    here = box((-20, -60, 25), (130, 60, 75), FINE)
    elsewhere = box((-149, -60, -99), (60, 60, 25), FINE)
    hounsfield = Volume(np.where(here | elsewhere, 40, -1000).astype(np.int16), FINE)
    kidney = ellipsoid((20, 0, 50), (22, 25, 20))
    labels, _ = split(kidney, image=hounsfield)
    assert np.array_equal(labels == RIGHT, kidney)


def test_body_is_the_largest_thing_in_the_image():
    body, arm = (
        box((-20, -60, -99), (130, 60, 99), FINE),
        box((-149, -60, -99), (-30, 60, 99), FINE),
    )
    hounsfield = Volume(np.where(body | arm, 40, -1000).astype(np.int16), FINE)
    kidney = ellipsoid((20, 0, 0), (18, 25, 50))
    labels, _ = split(kidney, image=hounsfield)
    assert np.array_equal(labels == RIGHT, kidney)


def test_image_of_air_falls_back_to_the_middle():
    air = Volume(np.full(UPRIGHT.size_xyz[::-1], -1000, np.int16), UPRIGHT)
    kidney = ellipsoid((60, 0, 0), (28, 25, 52))
    _, result = split(kidney, image=air)
    assert "image's middle" in result.findings[0].reason


@pytest.mark.parametrize("isthmus_mm", [4, 20, 30])
@pytest.mark.parametrize("shift_mm", [0, 30])
def test_horseshoe_is_cut_at_its_isthmus(isthmus_mm, shift_mm):
    left = ellipsoid((60 + shift_mm, 0, 0), (28, 25, 55))
    right = ellipsoid((-50 + shift_mm, 0, 0), (28, 25, 55))
    isthmus = box((-50 + shift_mm, -8, -40), (60 + shift_mm, 8, -40 + isthmus_mm))
    labels, result = split(left, right, isthmus)
    assert (result.method, codes(result)) == ("isthmus", ["kidneys_fused"])
    assert (labels[left] == LEFT).all()
    assert (labels[right] == RIGHT).all()


def test_horseshoe_with_a_loose_piece_is_still_a_horseshoe():
    left, right = ellipsoid((60, 0, 0), (34, 30, 60)), ellipsoid((-50, 0, 0), (22, 20, 40))
    isthmus, piece = box((-50, -8, -8), (60, 8, 8)), ellipsoid((-100, 0, 0), (9, 9, 16))
    body = Volume(np.full(FINE.size_xyz[::-1], 40, np.int16), FINE)
    labels, result = split(left, right, isthmus, piece, image=body)
    assert (labels[left] == LEFT).all()
    assert (labels[right | piece] == RIGHT).all()
    assert codes(result) == ["kidney_fragments", "kidneys_fused"]


def test_voxels_that_touch_at_a_corner_are_one_kidney():
    mask = np.zeros(UPRIGHT.size_xyz[::-1], bool)
    mask[10:22, 10:20, 60:75] = mask[22:34, 20:30, 75:90] = True  # 65 mL each
    labels, result = split(mask)
    assert set(np.unique(labels)) == {0, LEFT}
    assert codes(result) == ["single_kidney"]


def test_kidney_and_medial_mass_on_one_side_are_no_horseshoe():
    kidney, mass = ellipsoid((70, 0, 0), (22, 25, 50)), ellipsoid((24, 0, 0), (20, 20, 20))
    labels, result = split(kidney, mass, box((24, -2, -2), (70, 2, 2)))
    assert set(np.unique(labels)) == {0, LEFT}
    assert codes(result) == ["single_kidney"]


def test_kidney_and_small_nodule_across_the_midline_are_no_horseshoe():
    kidney, nodule = ellipsoid((-60, 0, 0), (28, 25, 52)), ellipsoid((20, 0, 0), (12, 12, 12))
    labels, result = split(kidney, nodule, box((-60, -2, -2), (20, 2, 2)))
    assert set(np.unique(labels)) == {0, RIGHT}
    assert codes(result) == ["single_kidney"]


def test_neck_far_from_the_midline_is_no_isthmus():
    mass, kidney = ellipsoid((-4, 0, 0), (66, 50, 50)), ellipsoid((110, 0, 0), (25, 25, 50))
    labels, result = split(mass, kidney, box((0, -2, -2), (110, 2, 2)))
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert codes(result) == ["kidneys_fused"]


def test_fused_kidney_without_a_neck_stays_whole():
    labels, result = split(ellipsoid((0, 0, 0), (90, 30, 40)))
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert (result.method, codes(result)) == ("undecided", ["kidneys_fused"])


def test_fused_kidney_off_the_midline_stays_whole():
    body = Volume(np.full(FINE.size_xyz[::-1], 40, np.int16), FINE)
    labels, result = split(ellipsoid((25, 0, 0), (95, 30, 40)), image=body)
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert codes(result) == ["kidneys_fused"]


def test_crossed_fused_kidney_stays_whole_though_it_lies_on_one_side():
    lateral, medial = ellipsoid((118, 0, 10), (24, 22, 52)), ellipsoid((38, 0, 0), (20, 22, 45))
    labels, result = split(lateral, medial, ellipsoid((78, 0, -38), (55, 18, 12)))
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert (result.method, codes(result)) == ("undecided", ["kidneys_fused"])


def test_single_kidney_with_a_mass_beside_it_has_a_side():
    labels, result = split(
        ellipsoid((60, 0, 0), (28, 25, 52)), ellipsoid((100, 0, 0), (36, 36, 36))
    )
    assert set(np.unique(labels)) == {0, LEFT}
    assert codes(result) == ["single_kidney"]


def test_a_kidney_with_threads_is_still_one():
    threads = box((-120, -2, -2), (-60, 2, 2)), box((-62, -2, -90), (-58, 2, 90))
    labels, result = split(ellipsoid((-60, 0, 0), (32, 28, 55)), *threads)
    assert set(np.unique(labels)) == {0, RIGHT}
    assert codes(result) == ["single_kidney"]


def test_horseshoe_beside_a_loose_mass_is_still_cut():
    left, right = ellipsoid((50, 0, 0), (28, 25, 55)), ellipsoid((-50, 0, 0), (28, 25, 55))
    mass = ellipsoid((105, 0, 0), (17, 17, 25))
    labels, result = split(left, right, box((-50, -8, -40), (50, 8, -28)), mass)
    assert (labels[left | mass] == LEFT).all()
    assert (labels[right] == RIGHT).all()
    assert result.method == "isthmus"


def test_mass_tied_to_one_of_two_kidneys_is_no_fusion():
    left, right = ellipsoid((60, 0, 20), (38, 35, 55)), ellipsoid((-70, 0, 10), (22, 20, 40))
    mass, stalk = ellipsoid((-20, 0, 0), (18, 20, 20)), box((-20, -3, -4), (60, 3, 4))
    labels, result = split(left, right, mass, stalk)
    assert np.array_equal(labels == RIGHT, right)
    assert result.method == "pair"


def test_slices_far_apart_along_x_are_no_necks():
    grid = Grid((23, 20, 30), (10.0, 6.0, 6.0), (-110.0, -57.0, -87.0))
    labels, result = split(ellipsoid((0, 0, 0), (60, 30, 40), grid), grid=grid)
    assert set(np.unique(labels)) == {0, UNDECIDED}
    assert result.method == "undecided"


def test_great_mass_that_reaches_across_the_midline_has_a_side():
    labels, result = split(ellipsoid((50, 0, 0), (68, 55, 55)))
    assert set(np.unique(labels)) == {0, LEFT}
    assert codes(result) == ["single_kidney"]


def test_fragment_joins_the_kidney_with_the_nearest_voxel():
    # its centre, and most of it, is nearer to the right kidney
    left, right = ellipsoid((70, 0, 0), (60, 50, 60)), ellipsoid((-55, 0, 0), (22, 22, 22))
    fragment = box((-22, -2, -2), (5, 2, 2))
    labels, result = split(left, right, fragment)
    assert np.array_equal(labels == LEFT, left | fragment)
    assert codes(result) == ["kidney_fragments"]
    assert result.findings[0].reason.endswith("the farthest 6.0 mm away")


def test_many_fragments_each_join_their_own_kidney():
    left, right = pair()
    specks = np.zeros_like(left)
    specks[2, ::8, ::8] = True
    labels, result = split(left, right, specks)
    where = positions(UPRIGHT)
    gap = [
        np.linalg.norm(where[specks][:, None] - where[k][None], axis=-1).min(axis=1)
        for k in (left, right)
    ]
    assert np.array_equal(labels[specks], np.where(gap[0] < gap[1], LEFT, RIGHT))
    assert f"{specks.sum()} of" in result.findings[0].reason


def test_small_kidney_across_the_midline_is_a_kidney():
    kidney, shrunken = ellipsoid((-60, 0, 0), (28, 25, 52)), ellipsoid((60, 0, 0), (9, 9, 16))
    labels, result = split(kidney, shrunken)
    assert np.array_equal(labels == LEFT, shrunken)
    assert (result.method, codes(result)) == ("pair", ["kidney_volume_suspect"])


def test_small_piece_beside_the_only_kidney_is_a_fragment():
    kidney, piece = ellipsoid((-60, 0, 0), (28, 25, 52)), ellipsoid((-110, 0, 0), (9, 9, 16))
    labels, result = split(kidney, piece)
    assert np.array_equal(labels == RIGHT, kidney | piece)
    assert codes(result) == ["kidney_fragments", "single_kidney"]


def test_speck_across_the_midline_is_no_kidney():
    kidney, speck = ellipsoid((-60, 0, 0), (28, 25, 52)), ellipsoid((60, 0, 0), (6, 6, 6))
    labels, result = split(kidney, speck)
    assert np.array_equal(labels == RIGHT, kidney | speck)
    assert codes(result) == ["kidney_fragments", "single_kidney"]


def test_tips_of_two_kidneys_at_the_edge_of_the_scan():
    left, right = ellipsoid((60, 0, 0), (8, 8, 6)), ellipsoid((-60, 0, 0), (7, 7, 6))
    labels, result = split(left, right)
    assert np.array_equal(labels == LEFT, left)
    assert np.array_equal(labels == RIGHT, right)
    assert result.method == "pair"


@pytest.mark.parametrize("mirror", [1, -1])
def test_three_large_components_are_parted_at_the_widest_gap(mirror):
    alone = ellipsoid((mirror * 60, 0, 0), (24, 22, 50))
    kidney = ellipsoid((mirror * -40, 0, 0), (24, 22, 50))
    mass = ellipsoid((mirror * -105, 0, 0), (35, 35, 35))  # larger than either kidney
    labels, result = split(alone, kidney, mass)
    assert np.array_equal(labels == (LEFT if mirror == 1 else RIGHT), alone)
    assert np.array_equal(labels == (RIGHT if mirror == 1 else LEFT), kidney | mass)
    assert codes(result) == ["kidney_fragments"]


def test_loose_mass_does_not_take_the_place_of_a_kidney():
    # the gap beside the mass is wider than the one between the kidneys
    right, left = ellipsoid((-45, 0, 0), (22, 22, 45)), ellipsoid((35, 0, 0), (22, 22, 45))
    mass = ellipsoid((122, 0, 0), (18, 18, 25))
    labels, result = split(left, right, mass)
    assert np.array_equal(labels == RIGHT, right)
    assert np.array_equal(labels == LEFT, left | mass)
    assert codes(result) == ["kidney_fragments"]


@pytest.mark.parametrize("shrunken_mm", [(9, 9, 16), (14, 13, 28), (20, 18, 36)])
@pytest.mark.parametrize("mirror", [1, -1])
def test_transplant_beside_two_shrunken_kidneys(mirror, shrunken_mm):
    near = ellipsoid((mirror * 50, 15, 40), (16, 15, 30))
    across = ellipsoid((mirror * -50, 15, 40), shrunken_mm)  # 5 to 54 mL
    transplant = ellipsoid((mirror * 85, -15, -45), (30, 28, 45))
    labels, _ = split(near, across, transplant)
    side, other = (LEFT, RIGHT) if mirror == 1 else (RIGHT, LEFT)
    assert np.array_equal(labels == side, near | transplant)
    assert np.array_equal(labels == other, across)


def test_pelvic_kidney_and_its_fellow():
    left, pelvic = ellipsoid((65, 0, 40), (26, 24, 50)), ellipsoid((-8, -10, -60), (26, 24, 32))
    labels, result = split(left, pelvic)
    assert np.array_equal(labels == RIGHT, pelvic)
    assert (result.method, codes(result)) == ("pair", [])


def test_one_voxel():
    speck = np.zeros(UPRIGHT.size_xyz[::-1], bool)
    speck[20, 20, 80] = True
    labels, result = split(speck)
    assert np.array_equal(labels == LEFT, speck)
    assert codes(result) == ["kidney_volume_suspect", "single_kidney"]


def test_every_voxel():
    labels, result = split(np.ones(UPRIGHT.size_xyz[::-1], bool))
    assert set(np.unique(labels)) == {UNDECIDED}
    assert codes(result) == ["kidney_volume_suspect", "kidneys_fused"]


def test_midline_is_that_of_the_kidneys_slices_though_specks_lie_elsewhere():
    here = box((-20, -60, 25), (130, 60, 75), FINE)
    elsewhere = box((-149, -60, -99), (60, 60, 25), FINE)
    hounsfield = Volume(np.where(here | elsewhere, 40, -1000).astype(np.int16), FINE)
    specks = np.zeros(UPRIGHT.size_xyz[::-1], bool)
    specks[0, 0, -1] = specks[-1, -1, -1] = True
    kidney = ellipsoid((20, 0, 50), (22, 25, 20))
    labels, _ = split(kidney, specks, image=hounsfield)
    assert (labels[kidney] == RIGHT).all()


def test_empty_mask():
    labels, result = split(np.zeros(UPRIGHT.size_xyz[::-1], bool))
    assert not labels.any()
    assert (result.method, codes(result)) == ("none", ["no_kidney"])


@pytest.mark.parametrize(("side", "value"), [("left", 1), ("right", 2), ("merged", 3)])
def test_side_given_by_a_person(side, value):
    left, right = pair()
    labels, result = split(left, right, decision=side)
    assert set(np.unique(labels)) == {0, value}
    assert (result.method, result.findings) == ("given", ())


def test_pair_given_by_a_person_whatever_its_sizes():
    kidney, shrunken = ellipsoid((60, 0, 0), (28, 25, 52)), ellipsoid((10, 0, 0), (7, 7, 10))
    assert split(kidney, shrunken)[1].method == "single"
    labels, result = split(kidney, shrunken, decision="pair")
    assert np.array_equal(labels == RIGHT, shrunken)
    assert (result.method, result.findings) == ("given", ())


def test_swapped_by_a_person():
    left, right = pair()
    labels, result = split(left, right, decision="swap")
    assert np.array_equal(labels == RIGHT, left)
    assert np.array_equal(labels == LEFT, right)
    assert result.method == "given"


@pytest.mark.parametrize("code", ["LPS", "RAI", "ASL", "SPR"])
def test_plane_given_by_a_person(code):
    left, right = pair()
    turned = oriented(Volume((left | right).astype(np.uint8), UPRIGHT), code)
    result = split_kidneys(turned, decision=71.0)
    labels = oriented(result.labels, "LPS").voxels
    x_mm = positions(UPRIGHT)[..., 0]
    assert np.array_equal(labels, np.where(x_mm > 71, LEFT, RIGHT) * (left | right))
    assert result.method == "given"


@pytest.mark.parametrize(
    ("shapes", "decision", "said"),
    [
        (pair(), 200.0, "x = 200 mm"),
        (pair()[:1], "pair", "one component"),
        ([ellipsoid((0, 0, 0), (28, 25, 52))], "swap", "undecided"),
        ([np.zeros(UPRIGHT.size_xyz[::-1], bool)], "left", "empty"),
    ],
)
def test_decision_that_does_not_fit(shapes, decision, said):
    with pytest.raises(OverrideError, match=said):
        split(*shapes, decision=decision)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_any_nonzero_value_is_kidney(dtype):
    left, right = pair()
    mask = Volume((left + right * 2).astype(dtype), UPRIGHT)
    labels = split_kidneys(mask).labels.voxels
    assert np.array_equal(labels == LEFT, left)
    assert np.array_equal(labels == RIGHT, right)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    filled=st.floats(0.005, 0.4),
    spacing=st.tuples(*[st.sampled_from([0.5, 3.0, 20.0])] * 3),
)
def test_no_voxel_is_lost_or_invented(seed, filled, spacing):
    mask = np.random.default_rng(seed).random((9, 11, 13)) < filled
    grid = Grid((13, 11, 9), spacing, (-6 * spacing[0], 0.0, 0.0))
    labels, result = split(mask, grid=grid)
    assert set(np.unique(labels)) <= {0, LEFT, RIGHT, UNDECIDED}
    assert (UNDECIDED in labels) == (result.method == "undecided")
    assert (LEFT in labels and RIGHT in labels) == (result.method in {"pair", "isthmus"})
