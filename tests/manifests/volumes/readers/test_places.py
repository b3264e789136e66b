"""Folders as hospitals send them: scouts beside a patient's folder, series within series."""

import numpy as np
import pydicom
import pytest

from manifests.volumes.readers.dicom_places import ct_places
from manifests.volumes.volume import read_volume
from tests.made_dicom import UID, aside, codes, voxels, write_series, write_slice

SCOUT = {"0008|0008": r"ORIGINAL\PRIMARY\LOCALIZER", "0020|000e": f"{UID}5"}


def places(folder):
    found = ct_places(p for p in sorted(folder.rglob("*")) if p.is_file())
    return [p.relative_to(folder).as_posix() for p in found]


def other(number):
    return {"0020|000e": f"{UID}{number}"}


def test_scouts_beside_a_folder_have_no_place(tmp_path):
    for patient in "ab":
        write_series(tmp_path / patient, numbers=range(2), prefix="scout", **SCOUT)
        write_series(tmp_path / patient / "CT", **other(ord(patient)))
        write_series(tmp_path / patient / "PT", **other(99), **{"0008|0060": "PT"})
    (tmp_path / "readme.txt").write_text("not a slice")
    assert places(tmp_path) == ["a/CT", "b/CT"]
    assert codes(read_volume(tmp_path / "a")) == ["dicom_series_chosen"]


def test_each_series_of_nested_folders_has_one_place_from_which_it_is_read(tmp_path):
    write_series(tmp_path / "p", pixels=voxels() + 1)
    write_series(tmp_path / "p" / "thin", pixels=voxels() + 2, **other(7))
    write_series(tmp_path / "p" / "thin" / "more", pixels=voxels() + 3, **other(8))
    assert places(tmp_path) == ["p", "p/thin", "p/thin/more"]
    for number, place in enumerate(places(tmp_path), start=1):
        assert np.array_equal(read_volume(tmp_path / place).voxels, voxels() + number)


def test_a_series_in_parts_has_the_folder_of_its_parts(tmp_path):
    write_series(tmp_path / "q" / "1", numbers=range(3))
    write_series(tmp_path / "q" / "2", numbers=range(3, 6))
    write_series(tmp_path / "q" / "3", pixels=voxels() + 1, **other(7))
    assert places(tmp_path) == ["q", "q/3"]
    assert np.array_equal(read_volume(tmp_path / "q").voxels, voxels())


def test_several_series_within_a_folder_are_named_not_chosen(tmp_path):
    write_series(tmp_path / "p" / "a")
    write_series(tmp_path / "p" / "b", numbers=range(5), **other(7))
    finding = aside(tmp_path)
    assert finding.code == "dicom_series_mixed"
    assert "6 slices with p/a/s" in finding.reason
    assert "5 slices with p/b/s" in finding.reason


def test_files_of_many_slices_have_a_place_each(tmp_path):
    for number in (7, 8):
        write_slice(tmp_path / f"{number}.dcm", voxels() + number, 0, **other(number))
    write_slice(tmp_path / "single" / "9.dcm", voxels(), 0, **other(9))
    assert places(tmp_path) == ["7.dcm", "8.dcm", "single"]
    assert np.array_equal(read_volume(tmp_path / "8.dcm").voxels, voxels() + 8)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ImagePositionPatient", "no ImagePositionPatient (1 file: s7.dcm)"),
        ("ImageOrientationPatient", "no ImageOrientationPatient (1 file: s7.dcm)"),
        ("PixelSpacing", "no PixelSpacing (1 file: s7.dcm)"),
    ],
)
def test_what_is_lacking_is_named_with_its_file(tmp_path, name, words):
    write_series(tmp_path)
    dataset = pydicom.dcmread(tmp_path / "s7.dcm")
    delattr(dataset, name)
    dataset.save_as(tmp_path / "s7.dcm")
    finding = aside(tmp_path)
    assert finding.code == "dicom_slices_missing"
    assert words in finding.reason
    assert "s8.dcm and s6.dcm" in finding.reason


def test_values_that_are_no_hounsfield_units_are_named(tmp_path):
    write_series(tmp_path)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.RescaleType = "Z_EFF"
        dataset.save_as(file)
    finding = aside(tmp_path)
    assert finding.code == "dicom_not_volume"
    assert "values in Z_EFF, not in Hounsfield units (6 files: s4.dcm" in finding.reason
