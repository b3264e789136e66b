"""Grids and resampling on shapes with known answers, and on real CT."""

import json
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from manifests.ground.errors import GeometryError
from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.orientation import orientation_code
from manifests.volumes.resampling.resampling import resample_image, resample_label, resample_linear
from manifests.volumes.volume import Volume, read_volume
from tests.oriented import oriented

CODES = [
    "".join(letters) for pairs in permutations(("LR", "PA", "SI")) for letters in product(*pairs)
]
TARGET_MM = (1.5, 1.5, 3.0)
SOURCE = Grid((60, 56, 50), (0.8, 0.9, 1.0), (-20.3, 11.7, -105.1))


def oblique(angles=(0.2, -0.3, 0.5)) -> Grid:
    matrix = sitk.Euler3DTransform((0, 0, 0), *angles).GetMatrix()
    return Grid((60, 56, 50), (0.8, 0.9, 1.0), (-20.3, 11.7, -105.1), matrix)


def positions(grid: Grid) -> np.ndarray:
    return grid.position_mm(np.indices(grid.size_xyz[::-1]).transpose(1, 2, 3, 0)[..., ::-1])


def middle(grid: Grid) -> np.ndarray:
    return grid.position_mm((np.array(grid.size_xyz) - 1) / 2)


def ball(grid: Grid, radius_mm: float, centre_mm) -> np.ndarray:
    return ((positions(grid) - centre_mm) ** 2).sum(axis=-1) <= radius_mm**2


def measure(label: Volume, value: int = 1) -> tuple[float, np.ndarray]:
    """Volume in mL and centroid in mm of one structure."""
    where = np.argwhere(label.voxels == value)[:, ::-1]
    return len(where) * label.grid.voxel_ml, label.grid.position_mm(where).mean(axis=0)


def outer_box(grid: Grid) -> np.ndarray:
    corners = product(*((-0.5, n - 0.5) for n in grid.size_xyz))
    corners = grid.position_mm(list(corners))
    return np.array([corners.min(axis=0), corners.max(axis=0)])


def random_labels(grid: Grid, highest: int = 5) -> Volume:
    shape = grid.size_xyz[::-1]
    return Volume(np.random.default_rng(3).integers(0, highest, shape, dtype=np.uint8), grid)


# the grid itself


def test_positions_are_those_of_itk():
    image = oblique().image(np.zeros((50, 56, 60), np.uint8))
    for index in ((0, 0, 0), (59, 0, 7), (1, 2, 3)):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert Grid.of(image).position_mm(index) == pytest.approx(expected)
        assert Grid.of(image).index_xyz(expected) == pytest.approx(index, abs=1e-9)


def test_a_part_lies_where_it_lay():
    grid = oblique()
    part = grid.part((3, 4, 5), (10, 12, 11), (1, 1, 1))
    assert part.size_xyz == (7, 8, 6)
    assert part.position_mm((0, 0, 0)) == pytest.approx(grid.position_mm((3, 4, 5)))
    assert part.position_mm((6, 7, 5)) == pytest.approx(grid.position_mm((9, 11, 10)))


def test_divided_voxels_fill_the_same_box():
    grid = oblique()
    fine = grid.part((0, 0, 0), grid.size_xyz, (1, 2, 3))
    assert fine.size_xyz == (60, 112, 150)
    assert fine.position_mm((-0.5, -0.5, -0.5)) == pytest.approx(grid.position_mm((-0.5,) * 3))
    assert fine.position_mm((59.5, 111.5, 149.5)) == pytest.approx(
        grid.position_mm((59.5, 55.5, 49.5))
    )


def test_covers_ends_at_the_outer_edges():
    grid = Grid((4, 3, 2), (2.0, 2.0, 2.0))
    probe = Grid((7, 1, 1), (2.0, 2.0, 2.0), (-2.9, 0.0, 0.0))  # centres -2.9, -0.9, ... 9.1
    assert grid.covers(probe).ravel().tolist() == [False, True, True, True, True, False, False]
    rounded = Grid((1, 1, 1), (2.0, 2.0, 2.0), (-1.0001, 0.0, 0.0))
    assert grid.covers(rounded).all()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"size_xyz": (3, 0, 3)}, "size_xyz"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0, float("nan"))}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0, float("inf"))}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm"),
        ({"origin_mm": (0.0, float("nan"), 0.0)}, "origin_mm"),
        ({"direction_lps": (1, 0, 0, 0, 1, 0, 0, 0.5, 1)}, "direction_lps"),
        ({"direction_lps": (1, 0, 0, 1)}, "direction_lps"),
    ],
)
def test_senseless_grids_are_refused(change, seen):
    sound = {"size_xyz": (3, 3, 3), "spacing_mm": (1.0, 1.0, 1.0)}
    with pytest.raises(GeometryError, match=f"{seen}: expected .* got .*; .*header"):
        Grid(**(sound | change))


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4, 4)])
def test_only_volumes_have_a_grid(size):
    with pytest.raises(GeometryError, match=f"got {len(size)} dimensions"):
        Grid.of(sitk.Image(size, sitk.sitkUInt8))


def test_colour_volumes_have_no_grid():
    with pytest.raises(GeometryError, match="one value per voxel, got 3"):
        Grid.of(sitk.Image((4, 4, 4), sitk.sitkVectorUInt8, 3))


@pytest.mark.parametrize("code", CODES)
def test_orientation_is_what_simpleitk_and_nibabel_call_it(code):
    turned = oriented(Volume(np.zeros((50, 56, 60), np.uint8), SOURCE), code).grid
    affine = np.diag([-1, -1, 1]) @ turned.steps_mm
    assert orientation_code(turned) == code
    assert "".join(nib.aff2axcodes(np.block([[affine, np.zeros((3, 1))], [0, 0, 0, 1]]))) == code


def test_orientation_of_an_oblique_volume_names_each_axis_once():
    turned = oblique((0.0, 0.0, np.pi / 4 + 0.01))
    assert orientation_code(turned) in {"PRS", "LPS"}
    assert len(set(orientation_code(oblique((0.7, 0.7, 0.7))))) == 3
    assert orientation_code(oblique((0.2, 0.2, 0.2))) == "LPS"


# the harmonised grid


@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    target=st.tuples(*[st.floats(0.3, 8)] * 3),
    turned=st.booleans(),
)
def test_the_harmonised_grid_covers_the_source_tightly(size, spacing, target, turned):
    source = Grid(
        size,
        spacing,
        (4.0, -70.0, 31.0),
        oblique().direction_lps if turned else SOURCE.direction_lps,
    )
    grid = harmonised_grid(source, target)
    assert grid.direction_lps == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert grid.spacing_mm == pytest.approx(target)
    (low, high), (grid_low, grid_high) = outer_box(source), outer_box(grid)
    slack = 1e-3 * np.array(target)
    assert (grid_low <= low + slack).all()
    assert (grid_high >= high - slack).all()
    # no slice too many, and the same excess at both ends
    assert (grid_high - grid_low < high - low + target).all() or min(grid.size_xyz) == 1
    assert low - grid_low == pytest.approx(grid_high - high, abs=1e-6)


@pytest.mark.parametrize("code", CODES)
def test_same_spacing_means_the_same_voxels(code):
    upright = Grid((9, 8, 7), TARGET_MM, (-3.3, 8.1, 100.2))
    labels = random_labels(upright)
    values = np.random.default_rng(5).integers(-1024, 3072, (7, 8, 9)).astype(np.int16)
    turned = [oriented(v, code) for v in (labels, Volume(values, upright))]
    grid = harmonised_grid(turned[0].grid, TARGET_MM)
    assert grid.size_xyz == upright.size_xyz
    assert grid.origin_mm == pytest.approx(upright.origin_mm)
    back = resample_label(turned[0], grid).voxels
    assert np.array_equal(back, labels.voxels)
    assert np.array_equal(resample_image(turned[1], grid).voxels, values)


def test_a_header_of_single_precision_adds_no_slice():
    spacing = tuple(float(np.float32(s)) for s in (0.7, 0.7, 0.7))
    assert harmonised_grid(Grid((300, 300, 300), spacing), (2.1, 2.1, 2.1)).size_xyz == (
        100,
        100,
        100,
    )
    assert harmonised_grid(Grid((301, 300, 300), spacing), (2.1, 2.1, 2.1)).size_xyz == (
        101,
        100,
        100,
    )


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0)])
def test_senseless_target_spacings_are_refused(spacing):
    with pytest.raises(GeometryError, match="spacing_mm"):
        harmonised_grid(SOURCE, spacing)


def test_a_lost_spacing_does_not_fill_the_memory():
    with pytest.raises(GeometryError, match="too large"):
        harmonised_grid(Grid((512, 512, 900), (0.8, 0.8, 900.0)), TARGET_MM)


# images


@pytest.mark.parametrize("source", [SOURCE, oblique()], ids=["upright", "oblique"])
def test_a_ramp_is_interpolated_exactly(source):
    slope = np.array([3.0, -2.0, 5.0])
    ramp = (positions(source) - middle(source)) @ slope
    grid = harmonised_grid(source, TARGET_MM)
    result = resample_linear(Volume(ramp, source), grid, outside=np.nan).voxels
    expected = (positions(grid) - middle(source)) @ slope
    index = source.index_xyz(positions(grid))
    within = ((index >= 0) & (index <= np.array(source.size_xyz) - 1)).all(axis=-1)
    assert within.sum() > 1000
    assert np.allclose(result[within], expected[within], atol=1e-3)
    hounsfield = resample_image(Volume(ramp, source), grid).voxels
    assert hounsfield.dtype == np.int16
    assert (abs(hounsfield[within] - expected[within]) <= 0.5 + 1e-3).all()


def test_beyond_the_edges_is_air():
    source = Grid((4, 4, 4), (1.0, 1.0, 1.0))
    image = Volume(np.full((4, 4, 4), 50, np.int16), source)
    wide = Grid((8, 4, 4), (1.0, 1.0, 1.0), (-2.0, 0.0, 0.0))
    row = resample_image(image, wide).voxels[0, 0]
    assert row.tolist() == [-1024, -1024, 50, 50, 50, 50, -1024, -1024]
    assert resample_linear(image, wide).voxels[0, 0, 0] == 0


def test_edge_voxels_hold_no_air():
    source = Grid((5, 5, 5), (2.0, 2.0, 2.0))
    image = Volume(np.full((5, 5, 5), 50, np.int16), source)
    result = resample_image(image, harmonised_grid(image.grid, (1.5, 1.5, 3.0)))
    assert (result.voxels == 50).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(10.6, 11), (-10.6, -11), (10.4, 10), (-10.4, -10), (40000.0, 32767), (-40000.0, -32768)],
)
def test_hounsfield_units_are_rounded_and_clipped(value, expected):
    image = Volume(np.full((3, 3, 3), value), Grid((3, 3, 3), (1.0, 1.0, 1.0)))
    result = resample_image(image, image.grid).voxels
    assert set(result.ravel().tolist()) == {expected}


# labels


@pytest.mark.parametrize("code", CODES)
def test_a_ball_keeps_its_place_and_volume(code):
    centre = middle(SOURCE) + np.array([1.3, -0.7, 0.4])
    turned = oriented(Volume(ball(SOURCE, 15, centre).astype(np.uint8), SOURCE), code)
    volume_ml, centroid = measure(resample_label(turned, harmonised_grid(turned.grid, TARGET_MM)))
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.005)
    assert centroid == pytest.approx(centre, abs=0.05)


@pytest.mark.parametrize("code", CODES)
def test_labels_do_not_depend_on_the_order_of_the_axes(code):
    label = random_labels(Grid((30, 28, 26), (0.8, 0.9, 1.0)))
    grid = harmonised_grid(label.grid, TARGET_MM)
    turned = resample_label(oriented(label, code), grid)
    upright = resample_label(label, grid)
    assert np.array_equal(turned.voxels, upright.voxels)


def test_a_ball_in_an_oblique_volume_keeps_its_place_and_volume():
    source = oblique()
    centre = middle(source) + np.array([1.3, -0.7, 0.4])
    label = Volume(ball(source, 15, centre).astype(np.uint8), source)
    volume_ml, centroid = measure(resample_label(label, harmonised_grid(label.grid, TARGET_MM)))
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.005)
    assert centroid == pytest.approx(centre, abs=0.05)


def test_an_oblique_volume_does_not_smear_beyond_its_edges():
    source = oblique()
    label = Volume(np.ones(source.size_xyz[::-1], np.uint8), source)
    grid = harmonised_grid(source, TARGET_MM)
    result = resample_label(label, grid).voxels
    assert (result[~source.covers(grid)] == 0).all()
    assert (result[source.covers(grid)] == 1).mean() > 0.99


def test_a_structure_cut_by_the_edges_is_the_same_in_each_slice():
    source = Grid((40, 40, 16), (0.8, 0.8, 0.4))  # 6.4 mm high, brought to three slices of 3 mm
    column = ((positions(source) - middle(source))[..., :2] ** 2).sum(axis=-1) <= 10**2
    label = Volume(column.astype(np.uint8), source)
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM)).voxels
    assert result.shape[0] == 3
    assert result.any()
    assert (result == result[1]).all()


def test_a_cavity_keeps_its_volume():
    cavity = ball(SOURCE, 4, middle(SOURCE) + np.array([0.3, 0.2, 0.4]))
    label = Volume((~cavity).astype(np.uint8), SOURCE)
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM))
    assert measure(result, 0)[0] == pytest.approx(measure(label, 0)[0], rel=0.03)


def test_one_thick_slice_between_thin_ones_does_not_spread():
    array = np.zeros((11, 10, 10), np.uint8)
    array[2] = 1  # it fills 1.8 slices of 3 mm: one wholly, its two neighbours to 0.4 each
    label = Volume(array, Grid((10, 10, 11), (1.5, 1.5, 5.0)))
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM)).voxels
    assert result.any(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize("first", range(10, 17))
def test_a_plate_thinner_than_half_a_slice_survives(first):
    array = np.zeros((40, 40, 40), np.uint8)
    array[first : first + 2] = 1  # 1 mm; first == 16 is halved by the border of two slices
    label = Volume(array, Grid((40, 40, 40), (0.8, 0.8, 0.5)))
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM)).voxels
    assert result.any(axis=0).all()  # without a hole
    assert result.any(axis=(1, 2)).sum() <= 2


@pytest.mark.parametrize(("speck", "organ"), [(1, 2), (2, 1)])
def test_a_speck_inside_an_organ_survives(speck, organ):
    array = np.full((50, 56, 60), organ, np.uint8)
    array[25, 28, 30] = speck
    label = Volume(array, SOURCE)
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM))
    assert np.count_nonzero(result.voxels == speck) == 1
    assert measure(result, speck)[1] == pytest.approx(SOURCE.position_mm((30, 28, 25)), abs=1.6)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.0), (0.8, 0.8, 5.0), (0.7, 0.7, 0.7)])
def test_where_structures_meet_no_background_opens(spacing):
    grid = Grid((60, 60, 40), spacing)
    seeds = np.random.default_rng(1).uniform(0, 1, (60, 3)) * grid.position_mm((60, 60, 40))
    values = np.arange(100, 160, dtype=np.uint8)
    label = Volume(values[KDTree(seeds).query(positions(grid))[1]], grid)
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM))
    assert set(np.unique(result.voxels)) <= set(values)


def test_labels_come_as_8_bit_and_stay_so():
    labels = random_labels(SOURCE, 256)
    assert resample_label(labels, SOURCE).voxels.dtype == np.uint8
    with pytest.raises(TypeError, match="got float64"):
        resample_label(Volume(labels.voxels.astype(np.float64), SOURCE), SOURCE)


def test_an_empty_label_map_stays_empty():
    empty = Volume(np.zeros((9, 9, 9), np.uint8), Grid((9, 9, 9), (1.0, 1.0, 1.0)))
    result = resample_label(empty, harmonised_grid(empty.grid, TARGET_MM))
    assert not result.voxels.any()
    assert result.grid == harmonised_grid(empty.grid, TARGET_MM)


def test_a_grid_elsewhere_gets_nothing():
    labels = random_labels(Grid((5, 5, 5), (1.0, 1.0, 1.0)))
    far = Grid((4, 4, 4), (1.0, 1.0, 1.0), (100.0, 0.0, 0.0))
    assert not resample_label(labels, far).voxels.any()


def test_large_structures_are_measured_in_slabs(monkeypatch):
    labels = random_labels(oblique())
    grid = harmonised_grid(labels.grid, TARGET_MM)
    whole = resample_label(labels, grid).voxels
    monkeypatch.setattr("manifests.volumes.slabs.SLAB_VOXELS", 1)
    assert np.array_equal(resample_label(labels, grid).voxels, whole)


# real CT


def as_ids(label: Volume) -> Volume:
    return Volume(label.voxels.astype(np.uint8), label.grid)


def test_organs_of_a_real_ct_keep_their_place_and_volume(shared_data):
    folder = shared_data / "totalsegmentator" / "example_ct"
    label = as_ids(read_volume(folder / "label.nii.gz"))
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM))
    large = 0
    for value in map(int, json.loads((folder / "labels.json").read_text())):
        (before_ml, before), (after_ml, after) = measure(label, value), measure(result, value)
        assert (abs(after - before) < TARGET_MM).all()
        if before_ml > 5:
            large += 1
            assert after_ml == pytest.approx(before_ml, rel=0.03)
    assert large > 40


def test_organs_of_a_real_contrast_ct_keep_their_place_and_volume(shared_data):
    folder = shared_data / "totalsegmentator" / "example_ct_dicom"
    label = as_ids(read_volume(folder / "label.nii.gz"))
    result = resample_label(label, harmonised_grid(label.grid, TARGET_MM))
    for value in map(int, json.loads((folder / "labels.json").read_text())):
        (before_ml, before), (after_ml, after) = measure(label, value), measure(result, value)
        assert (abs(after - before) < TARGET_MM).all()
        if before_ml > 5:  # the scan of 40 mm cuts them all, and is brought to 42 mm
            assert after_ml == pytest.approx(before_ml, rel=0.1)


def test_a_real_ct_keeps_its_hounsfield_units(shared_data):
    folder = shared_data / "totalsegmentator" / "example_ct"
    image = read_volume(folder / "image.nii.gz")
    label = as_ids(read_volume(folder / "label.nii.gz"))
    grid = harmonised_grid(image.grid, TARGET_MM)
    after = resample_image(image, grid).voxels
    where = resample_label(label, grid).voxels
    before, there = image.voxels, label.voxels
    for value in (1, 2, 3, 5):  # spleen, kidneys, liver
        expected = np.median(before[there == value])
        assert np.median(after[where == value]) == pytest.approx(expected, abs=2)
