"""Folders of DICOM slices, made slice by slice."""

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.volumes.volume import read_volume
from tests.made_dicom import (
    SHAPE,
    STEP_MM,
    UID,
    aside,
    codes,
    position,
    voxels,
    write_series,
    write_slice,
)


def test_a_series_is_read_in_the_order_of_positions_and_rescaled(tmp_path):
    volume = read_volume(write_series(tmp_path))
    assert codes(volume) == []
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels())
    assert volume.grid.spacing_mm == pytest.approx((0.8, 0.7, STEP_MM))
    assert volume.grid.origin_mm == pytest.approx((-100, -90, 30))
    assert volume.grid.direction_lps == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_means_the_same_numbers(tmp_path, signed):
    """It tells viewers what to show as white; GDCM turns the values round."""
    pixels = voxels() if signed else voxels().clip(-1024)
    folder = write_series(
        tmp_path / "series", pixels=pixels, **{"0028|1052": "0"} if signed else {}
    )
    for file in folder.iterdir():
        content = file.read_bytes()
        assert content.count(b"MONOCHROME2") == 1
        file.write_bytes(content.replace(b"MONOCHROME2", b"MONOCHROME1"))
    assert np.array_equal(read_volume(folder).voxels, pixels)


def stored(folder):
    """The bytes at the end of each file, from the lowest slice to the highest."""
    count = SHAPE[1] * SHAPE[2]
    files = sorted(folder.glob("*.dcm"), reverse=True)
    raw = [np.frombuffer(f.read_bytes()[-2 * count :], "<i2") for f in files]
    return np.stack(raw).reshape(SHAPE)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [
        (lambda _: 1, lambda _: -1024),
        (lambda n: 1 + n, lambda n: -1000 - n),
    ],
)
def test_slope_and_intercept_of_each_slice_are_applied(tmp_path, slope, intercept):
    tags = {"0028|1053": lambda n: str(slope(n)), "0028|1052": lambda n: str(intercept(n))}
    volume = read_volume(write_series(tmp_path, **tags))
    slopes, intercepts = (
        np.array([f(n) for n in range(SHAPE[0])])[:, None, None] for f in (slope, intercept)
    )
    raw = stored(tmp_path)
    assert not np.array_equal(raw, voxels())
    assert np.array_equal(volume.voxels, raw * slopes + intercepts)


def test_a_slope_with_a_fraction_is_applied(tmp_path):
    write_series(tmp_path)
    tag = b"\x28\x00\x53\x10\x02\x00\x00\x00"
    for file in tmp_path.glob("*.dcm"):  # ITK's writer would not
        assert tag + b"1 " in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(tag + b"1 ", tag + b".5"))
    assert np.array_equal(read_volume(tmp_path).voxels, stored(tmp_path) * 0.5 - 1024)


def test_slices_that_lie_the_other_way_up_and_oblique(tmp_path):
    c, s = np.cos(0.2), np.sin(0.2)
    row, column = np.array([c, s, 0]), np.array([-s, c, 0]) * -1  # the normal points to the feet
    tags = {
        "0020|0037": "\\".join(f"{v:.9f}" for v in (*row, *column)),
    }
    volume = read_volume(write_series(tmp_path, **tags))
    assert codes(volume) == ["axes_oblique"]
    assert np.array_equal(volume.voxels, voxels()[::-1])
    at = volume.grid.position_mm((2, 3, 1))
    expected = (-100, -90, 30 + 4 * STEP_MM) + 0.8 * 2 * row + 0.7 * 3 * column
    np.testing.assert_allclose(at, expected, atol=1e-5)


def test_the_order_of_subfolders_and_other_files_do_no_harm(tmp_path):
    write_series(tmp_path / "b", numbers=range(3))
    write_series(tmp_path / "a", numbers=range(3, 6))
    (tmp_path / "readme.txt").write_text("not a slice")
    assert np.array_equal(read_volume(tmp_path).voxels, voxels())


def test_a_localizer_and_another_modality_are_left_out(tmp_path):
    write_series(tmp_path)
    other = {"0020|000e": f"{UID}5", "0020|0037": r"1\0\0\0\0\-1"}
    local = {"0008|0008": r"ORIGINAL\PRIMARY\LOCALIZER"}
    write_series(tmp_path, numbers=range(2), prefix="l", **other, **local)
    write_series(tmp_path, prefix="p", **{"0020|000e": f"{UID}6", "0008|0060": "PT"})
    write_slice(tmp_path / "single.dcm", voxels()[:1], 0, **{"0020|000e": f"{UID}7"})
    volume = read_volume(tmp_path)
    assert codes(volume) == ["dicom_series_chosen"]
    assert volume.findings[0].reason.startswith("9 files beside the 6 slices")
    assert np.array_equal(volume.voxels, voxels())


def test_one_slice_is_no_volume_whether_alone_or_of_a_series(tmp_path):
    write_series(tmp_path)
    finding = aside(tmp_path / "s9.dcm")
    assert finding.code == "dicom_not_volume"
    assert "one slice only" in finding.reason
    assert "give the folder of its series" in finding.reason


def test_two_series_are_set_aside(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, prefix="t", **{"0020|000e": f"{UID}7"})
    finding = aside(tmp_path)
    assert finding.code == "dicom_series_mixed"
    assert "[6, 6] slices" in finding.reason


def test_two_scans_under_one_series_are_set_aside(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, prefix="t", pixels=voxels()[::-1].copy())
    assert aside(tmp_path).code == "dicom_series_mixed"


def test_slices_that_stand_there_twice_are_taken_once(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, prefix="copy", numbers=(1, 4))
    volume = read_volume(tmp_path)
    assert codes(volume) == ["dicom_slices_duplicate"]
    assert np.array_equal(volume.voxels, voxels())


@pytest.mark.parametrize(
    ("numbers", "words"), [((0, 1, 3, 4, 5), "1 are"), ((0, 1, 2, 5), "2 are")]
)
def test_missing_slices_set_the_case_aside(tmp_path, numbers, words):
    finding = aside(write_series(tmp_path, numbers=numbers))
    assert finding.code == "dicom_slices_missing"
    assert words in finding.reason


def test_slices_a_little_uneven_are_noted(tmp_path):
    tags = position(lambda n: (0, 0, 0.1 if n == 2 else 0))
    volume = read_volume(write_series(tmp_path, **tags))
    assert codes(volume) == ["dicom_spacing_uneven"]
    assert volume.grid.spacing_mm[2] == pytest.approx(STEP_MM)
    tags = position(lambda n: (0, 0, 1.0 if n == 2 else 0))
    assert aside(write_series(tmp_path, **tags)).code == "geometry_invalid"


def test_a_slice_that_is_cut_off_is_no_slice(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "s6.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    assert aside(tmp_path).code in ("unreadable", "dicom_slices_missing")


def test_an_empty_folder_and_one_without_slices(tmp_path):
    assert aside(tmp_path).code == "unreadable"
    (tmp_path / "readme.txt").write_text("nothing here")
    assert aside(tmp_path).code == "unreadable"


def test_the_real_series(shared_data):
    folder = shared_data / "totalsegmentator" / "example_ct_dicom"
    volume = read_volume(folder / "dicom")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / "dicom"))
    itk = sitk.ReadImage(files)
    assert volume.findings == ()
    assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(itk))
    assert volume.grid.origin_mm == pytest.approx(itk.GetOrigin())
    assert volume.grid.spacing_mm == pytest.approx(itk.GetSpacing())
    assert volume.grid.direction_lps == pytest.approx(itk.GetDirection())
