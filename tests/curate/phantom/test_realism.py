"""The measurements that compare phantom and patients, on shapes whose answers are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.benchmarks.phantom_realism import (
    SPACE,
    VOXEL_MM,
    as_table,
    as_toml,
    gather,
    in_any_phase,
    in_its_phase,
    measure,
)

LIVER, SPLEEN = SPACE.class_of["liver"], SPACE.class_of["spleen"]


def _two_cubes(liver_hu: float, spleen_hu: float) -> tuple[np.ndarray, np.ndarray]:
    """Two cubes of 20 voxels that share one face, in fat."""
    ids = np.zeros((40, 40, 60), np.uint8)
    ids[10:30, 10:30, 10:30] = LIVER
    ids[10:30, 10:30, 30:50] = SPLEEN
    hu = np.select([ids == LIVER, ids == SPLEEN], [liver_hu, spleen_hu], -100.0)
    return hu + np.random.default_rng(0).normal(0.0, 8.0, hu.shape), ids


def test_of_two_cubes_one_face_in_six_touches_the_other() -> None:
    hu, ids = _two_cubes(100.0, 60.0)
    facts = measure(hu, ids)
    assert facts["liver"]["touches_organ"] == pytest.approx(1 / 6)
    assert facts["liver"]["volume_ml"] == pytest.approx(20**3 * VOXEL_MM**3 / 1000)
    assert facts["liver"]["hu_mean"] == pytest.approx(100.0, abs=0.5)
    assert facts["liver"]["hu_spread"] == pytest.approx(8.0, abs=0.3)
    assert facts["scan"]["noise_hu"] == pytest.approx(8.0 * np.sqrt(1 - 1 / 25), abs=0.3)
    # White noise less the mean of 5 x 5 voxels: (-2/25 + 20/625) / (1 - 1/25).
    assert facts["scan"]["noise_next"] == pytest.approx(-0.05, abs=0.03)


def test_overlap_is_whole_for_equal_organs_and_nothing_for_others() -> None:
    same, other = (measure(*_two_cubes(100.0, hu)) for hu in (100.0, 200.0))
    assert same["spleen"]["overlap_with_neighbour"] > 0.9
    assert other["spleen"]["overlap_with_neighbour"] < 0.01
    # Two voxels around a cube: on its six faces, one on its twelve edges, one on its corners.
    around = 6 * 2 * 400 + 12 * 20 + 8
    assert same["spleen"]["alike_around"] == pytest.approx(0.954 * 2 * 400 / around, abs=0.01)


def test_edge_of_a_smeared_cube_is_that_of_the_gaussian() -> None:
    ids = np.zeros((40, 40, 40), np.uint8)
    ids[10:30, 10:30, 10:30] = LIVER
    hu = gaussian_filter(np.where(ids == LIVER, 100.0, -100.0), 1.0, mode="nearest")
    # between 10 and 90 % of an edge that a Gaussian smears lie 2.563 of its standard deviations
    assert measure(hu, ids)["liver"]["edge_mm"] == pytest.approx(2.563 * VOXEL_MM, rel=0.05)


def test_organ_that_the_image_cuts_has_no_volume() -> None:
    ids = np.zeros((20, 20, 20), np.uint8)
    ids[:10, 5:15, 5:15] = LIVER
    hu = np.where(ids, 100.0, -100.0) + np.random.default_rng(0).normal(0.0, 8.0, ids.shape)
    assert "volume_ml" not in measure(hu, ids)["liver"]


def test_facts_are_told_with_the_number_of_patients() -> None:
    patients = gather([{"liver": {"hu_mean": 100.0}}])
    phantoms = gather([{"liver": {"hu_mean": 90.0}}, {"liver": {"hu_mean": 94.0}}])
    assert (
        as_toml(patients, "unenhanced")
        == "[unenhanced.liver]\nhu_mean = { mean = 100, patients = 1 }\n"
    )
    assert "| liver | hu_mean | 100 | 92 ± 2.8 | +2.8 |" in as_table(patients, phantoms)


def test_from_three_patients_on_their_own_spread_is_the_yardstick() -> None:
    patients = gather({"liver": {"hu_mean": hu}} for hu in (90.0, 100.0, 110.0))
    phantoms = gather({"liver": {"hu_mean": hu}} for hu in (90.0, 94.0))
    assert "| liver | hu_mean | 90, 100, 110 | 92 ± 2.8 | +0.8 |" in as_table(patients, phantoms)


def test_volumes_of_all_phases_are_told_together() -> None:
    phases = [gather([{"liver": {"hu_mean": hu, "volume_ml": 1500.0 + hu}}]) for hu in (50.0, 90.0)]
    assert in_any_phase(phases) == {("liver", "volume_ml"): [1550.0, 1590.0]}
    assert in_its_phase(phases[1]) == {("liver", "hu_mean"): [90.0]}
