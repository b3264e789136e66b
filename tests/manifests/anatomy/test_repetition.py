"""Scans that show the same part of the body twice, made of a body that changes along its axis."""

import numpy as np
import pytest
from scipy import ndimage

from manifests.anatomy.repetition import find_repetition
from manifests.anatomy.torso import find_torso
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

MM = 4.0


@pytest.fixture(scope="module")
def body():
    """A cylinder of 240 mm in air, with soft blobs of some centimetres."""
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.normal(0, 1, (60, 60, 60)), 4.0)
    y, x = np.meshgrid(np.arange(60), np.arange(60), indexing="ij")
    inside = (x - 29.5) ** 2 + (y - 29.5) ** 2 < 26**2
    return np.where(inside, 60 * blobs / blobs.std(), -1000.0)


def repetition(voxels, noise_hu=15.0):
    hu = voxels + np.random.default_rng(1).normal(0, noise_hu, voxels.shape)
    grid = Grid(voxels.shape[::-1], (MM, MM, MM), (0.0, 0.0, 100.0))
    torso = find_torso(Volume(hu.astype(np.int16), grid))
    assert torso is not None
    return find_repetition(torso)


def test_two_acquisitions_are_found_with_their_shift_and_seam(body):
    enhanced = np.where(body > 40, body + 60, body)
    found = repetition(np.concatenate([body, enhanced]))
    assert found.shift_mm == 60 * MM
    assert found.seam_mm == pytest.approx(100 + 60 * MM - MM / 2, abs=2 * MM)


def test_a_part_that_is_shown_again_is_enough(body):
    found = repetition(np.concatenate([body, body[20:45]]))
    assert found.shift_mm == 40 * MM
    assert found.seam_mm == pytest.approx(100 + 60 * MM - MM / 2, abs=2 * MM)


def test_a_patient_who_breathed_and_moved_is_still_the_same(body):
    moved = ndimage.shift(body, (1, 1, 0), order=1, mode="nearest")
    assert repetition(np.concatenate([body, moved])).shift_mm == pytest.approx(61 * MM, abs=MM)


@pytest.mark.parametrize("slices", [60, 29, 10])
def test_one_acquisition_is_no_repetition(body, slices):
    assert repetition(body[:slices]) is None


def test_legs_that_look_alike_all_along_are_no_repetition(body):
    assert repetition(np.repeat(body[:1], 120, axis=0)) is None
    slowly = ndimage.zoom(body[:12], (10, 1, 1), order=1)
    assert repetition(slowly) is None
