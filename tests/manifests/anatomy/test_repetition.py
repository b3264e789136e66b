"""Scans that show the same part of the body twice, made of a body that changes along its axis."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from manifests.anatomy.repetition import find_repetition
from manifests.anatomy.torso import find_torso
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume
from tests.made_dicom import write_tagged

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


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "dicom"])
def test_they_are_found_in_files_of_every_format(body, tmp_path, name):
    hu = np.concatenate([body, body[10:50]])[:, ::2, ::2].astype(np.int16)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((2 * MM, 2 * MM, MM))
    image.SetOrigin((-120.0, -90.0, 100.0))
    if name == "dicom":
        (tmp_path / name).mkdir()
        for number, slice_ in enumerate(hu):
            write_slice(tmp_path / name / f"{number:03}.dcm", slice_, number)
    else:
        sitk.WriteImage(image, tmp_path / name)
    torso = find_torso(read_volume(tmp_path / name))
    found = find_repetition(torso)
    assert found.shift_mm == pytest.approx(50 * MM, abs=MM)
    assert found.seam_mm == pytest.approx(100 + 60 * MM - MM / 2, abs=2 * MM)


def write_slice(path, pixels, number):
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing((2 * MM, 2 * MM))
    for tag, value in (
        ("0008|0060", "CT"),
        ("0020|000d", "1.2.826.0.1.3680043.2.1125.2"),
        ("0020|000e", "1.2.826.0.1.3680043.2.1125.1"),
        ("0020|0013", str(number)),
        ("0020|0032", rf"-120\-90\{100 + number * MM}"),
        ("0020|0037", r"1\0\0\0\1\0"),
        ("0028|1052", "0"),
        ("0028|1053", "1"),
    ):
        image.SetMetaData(tag, value)
    write_tagged(image, path)
