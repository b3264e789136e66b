"""The phantom: shapes of known volume, organs where anatomy has them, one patient on any grid."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.phantom.canvas import Frame, Wave, wave_sum
from curate.phantom.patient import STRUCTURES, TumourChance, draw_patient, render
from curate.phantom.shapes import Capsule, ellipsoid, rotation, tube
from manifests.classes.structures import vocabulary
from manifests.volumes.grid import Grid

GRID = Grid((84, 68, 72), (5.0, 5.0, 4.0), (-207.5, -190.0, -140.0))
HEALTHY, SICK = TumourChance(0.0, 0.0, 0.0), TumourChance(1.0, 1.0, 1.0)
SEEDS = range(4)


@cache
def seen(seed, grid=GRID, chance=HEALTHY):
    return render(draw_patient(np.random.default_rng(seed), tumour_chance=chance), grid)


def mask(seed, name, **kwargs):
    return seen(seed, **kwargs)[1] == 1 + STRUCTURES.index(name)


def centre_mm(seed, name):
    return GRID.position_mm(np.argwhere(mask(seed, name))[:, ::-1]).mean(axis=0)


def volume_ml(seed, name, grid=GRID):
    return mask(seed, name, grid=grid).sum() * grid.voxel_ml


def sampled(solid, step_mm=1.0):
    low, high = solid.box_mm()
    x, y, z = (
        np.arange(a, b + step_mm, step_mm, np.float32) for a, b in zip(low, high, strict=True)
    )
    return solid.level(np.broadcast_arrays(x[None, None], y[None, :, None], z[:, None, None]))


def test_volume_of_an_ellipsoid():
    solid = ellipsoid((3.0, -5.0, 7.0), (20.0, 12.0, 30.0), (10.0, 40.0, -25.0))
    assert (sampled(solid) < 1).sum() == pytest.approx(4 / 3 * np.pi * 20 * 12 * 30, rel=0.01)


def test_volume_of_a_capsule():
    solid = Capsule((0.0, 0.0, 0.0), (20.0, 30.0, -10.0), (9.0, 9.0))
    length = np.sqrt(400 + 900 + 100)
    expected = np.pi * 81 * (length + 4 / 3 * 9)
    assert (sampled(solid) < 1).sum() == pytest.approx(expected, rel=0.02)


def test_a_tube_goes_through_its_knots():
    knots = [(0.0, 0.0, 0.0), (30.0, 10.0, 5.0), (50.0, -20.0, 20.0)]
    pieces = tube(knots, [5.0, 8.0, 3.0], pieces=4)
    assert len(pieces) == 8
    assert pieces[0].start_mm == pytest.approx(knots[0])
    assert pieces[4].start_mm == pytest.approx(knots[1])
    assert pieces[4].radii_mm[0] == pytest.approx(8.0)
    assert pieces[-1].end_mm == pytest.approx(knots[2])


@settings(max_examples=60, deadline=None)
@given(
    radii=st.tuples(*[st.floats(2.0, 60.0)] * 3),
    turn=st.tuples(*[st.floats(-180.0, 180.0)] * 3),
    power=st.floats(1.5, 6.0),
    ray=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
def test_a_box_holds_its_ellipsoid(radii, turn, power, ray):
    solid = ellipsoid((0.0, 0.0, 0.0), radii, turn, power=power)
    low, high = solid.box_mm()
    point = rotation(turn) @ (np.array(ray) * radii)
    inside = solid.level(tuple(np.float32([p]) for p in point))[0] < 0.999
    assert not inside or np.all((low <= point) & (point <= high))


def test_waves_are_sines():
    waves = (Wave((0.02, -0.03, 0.05), 0.4, 3.0), Wave((-0.1, 0.02, 0.0), 1.0, 2.0))
    grid = Grid((5, 6, 7), (2.0, 3.0, 4.0), (1.0, 2.0, 3.0))
    position = grid.position_mm(np.indices((7, 6, 5)).transpose(1, 2, 3, 0)[..., ::-1])
    expected = sum(w.amplitude * np.sin(position @ w.radians_per_mm + w.phase) for w in waves)
    np.testing.assert_allclose(wave_sum(waves, grid), expected, atol=1e-5)


def test_points_of_a_turned_frame():
    quarter = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 2.0))
    frame = Frame(quarter, (10.0, 20.0, 30.0), ((Wave((0.0, 0.0, 0.0), np.pi / 2, 4.0),),) * 3)
    x, y, z = frame.points(Grid((1, 1, 1), (1.0, 1.0, 1.0), (11.0, 22.0, 33.0)))
    assert (x.item(), y.item(), z.item()) == pytest.approx((2.0 + 4.0, -1.0 + 4.0, 6.0 + 4.0))


def test_same_seed_same_patient():
    assert draw_patient(np.random.default_rng(7)) == draw_patient(np.random.default_rng(7))
    assert draw_patient(np.random.default_rng(7)) != draw_patient(np.random.default_rng(8))
    first, again = (render(draw_patient(np.random.default_rng(7)), GRID) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_names_are_the_vocabulary():
    assert set(STRUCTURES) <= set(vocabulary())


def test_arrays():
    hu, structures = seen(0)
    assert hu.dtype == np.float32
    assert structures.dtype == np.uint8
    assert hu.shape == structures.shape == (72, 68, 84)
    assert structures.max() <= len(STRUCTURES)


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_where_anatomy_has_them(seed):
    at = {name: centre_mm(seed, name) for name in STRUCTURES if mask(seed, name).any()}
    x, y, z = ({name: place[axis] for name, place in at.items()} for axis in range(3))
    assert x["liver"] < 0 < x["spleen"]
    assert x["right_kidney"] < x["inferior_vena_cava"] < x["aorta"] < x["left_kidney"]
    assert x["right_adrenal"] < x["left_adrenal"]
    assert x["right_kidney"] < x["pancreas"] < x["spleen"]
    assert y["stomach"] < y["spleen"]
    assert y["pancreas"] < y["left_kidney"]
    assert z["right_kidney"] < z["left_kidney"] < z["spleen"]
    assert z["right_kidney"] < z["right_adrenal"]
    assert z["left_kidney"] < z["esophagus"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "least_ml", "most_ml"),
    [
        ("liver", 800, 2500),
        ("spleen", 80, 500),
        ("left_kidney", 80, 350),
        ("right_kidney", 80, 350),
        ("pancreas", 20, 180),  # the smallest of the patients measured has 22 mL
        ("stomach", 80, 700),
        ("gallbladder", 0, 120),
        ("aorta", 30, 250),
        ("inferior_vena_cava", 30, 200),
        ("portal_and_splenic_vein", 5, 60),
        ("esophagus", 5, 60),
        ("left_adrenal", 0.5, 10),
        ("right_adrenal", 0.5, 10),
    ],
)
def test_volumes_are_plausible(seed, name, least_ml, most_ml):
    assert least_ml <= volume_ml(seed, name) <= most_ml


@pytest.mark.parametrize("name", ["liver", "spleen", "left_kidney", "right_kidney", "pancreas"])
def test_one_patient_on_two_grids(name):
    other = Grid((130, 106, 57), (3.1, 3.3, 5.0), (-200.0, -188.0, -138.0))
    assert volume_ml(1, name, grid=other) == pytest.approx(volume_ml(1, name), rel=0.05)


def test_a_turned_grid_shows_the_same():
    turned = Grid(  # its first axis runs from head to foot, its last to the patient's right
        (72, 68, 84),
        (4.0, 5.0, 5.0),
        (-207.5 + 83 * 5.0, -190.0, -140.0 + 71 * 4.0),
        (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0),
    )
    structures = seen(0, grid=turned)[1][::-1, :, ::-1].transpose(2, 1, 0)
    assert (structures != seen(0)[1]).mean() < 1e-4  # rounding on a surface


def test_a_grid_beside_the_patient_is_empty():
    hu, structures = seen(0, grid=Grid((8, 8, 8), (4.0, 4.0, 4.0), (900.0, 900.0, 0.0)))
    assert not structures.any()
    np.testing.assert_allclose(hu, -1000.0)


def test_healthy_patients_have_no_tumours():
    assert not any(mask(s, n).any() for s in SEEDS for n in STRUCTURES if n.endswith("tumour"))


# Not seed 2: in 1 of 40 patients, the tumour of a kidney would lie in muscle, and is not there.
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_sick_patients_have_tumours(seed):
    found = {n for n in STRUCTURES if n.endswith("tumour") and mask(seed, n, chance=SICK).any()}
    assert {"liver_tumour", "pancreas_tumour"} <= found
    assert len(found & {"left_kidney_tumour", "right_kidney_tumour"}) == 1


def test_a_liver_tumour_takes_only_liver():
    patient = draw_patient(np.random.default_rng(3), tumour_chance=SICK)
    regions = tuple(region for region in patient.regions if region.tissue != "liver_tumour")
    with_tumour = render(patient, GRID)[1]
    without = render(replace(patient, regions=regions), GRID)[1]
    changed = with_tumour != without
    assert changed.any()
    assert set(without[changed]) == {1 + STRUCTURES.index("liver")}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_looks_like_an_organ_takes_no_organs_place(seed):
    patient = draw_patient(np.random.default_rng(seed), tumour_chance=SICK)
    alike = {"node", "atelectasis"}
    first = next(i for i, region in enumerate(patient.regions) if region.tissue == "muscle")
    assert alike & {region.tissue for region in patient.regions[first:]}
    hu, with_them = render(patient, GRID)
    bare, without = render(replace(patient, regions=patient.regions[:first]), GRID)
    np.testing.assert_array_equal(with_them, without)
    changed = hu != bare
    assert 2 < changed.sum() * GRID.voxel_ml / 10 < 200
    assert not with_them[changed].any()


def test_contrast_adds_to_patients_more_or_less():
    patient = draw_patient(np.random.default_rng(0))
    plain = render(patient, GRID, contrast=(1, 0, 0))[0]
    once, twice = (render(replace(patient, enhancement=e), GRID)[0] for e in (0.5, 1.0))
    np.testing.assert_allclose(twice - plain, 2 * (once - plain), atol=1e-3)


def test_contrast_lights_up_the_aorta():
    patient = draw_patient(np.random.default_rng(0))
    none, arterial = (render(patient, GRID, contrast=c)[0] for c in [(1, 0, 0), (0, 1, 0)])
    _, structures = render(patient, GRID)
    inside = structures == 1 + STRUCTURES.index("aorta")
    assert arterial[inside].mean() > none[inside].mean() + 150


def test_the_image_shows_lungs_bone_fat_and_air():
    hu, structures = seen(0)
    assert (hu[-1, 20:48, 20:64] < -700).mean() > 0.2  # lungs at the top
    assert (hu[10, 40:60, 36:48] > 300).any()  # the spine
    assert ((hu < -70) & (hu > -140)).mean() > 0.1
    assert hu[:, 0].max() < -900
    assert 60 < hu[structures == 1].mean() < 150
