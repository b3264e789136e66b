"""Enhanced CT: all slices in one file, each with a place and a rescale of its own."""

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, generate_uid

from manifests.volumes.volume import read_volume
from tests.made_dicom import SHAPE, STEP_MM, aside, codes, voxels, write_series, write_slice


def frames(path):
    """A file as ITK writes it, to be changed."""
    write_slice(path, voxels(), 0)
    return pydicom.dcmread(path)


def placed(dataset, order, path):
    """Store the slices in this order, each with its own place."""
    dataset.PixelData = (voxels() + 1024).astype("<i2")[list(order)].tobytes()
    for number, group in zip(order, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        place = [-100, -90, 30 + number * STEP_MM]
        group.PlanePositionSequence[0].ImagePositionPatient = place
    dataset.save_as(path)


def test_frames_are_put_in_the_order_of_their_places(tmp_path):
    path = tmp_path / "enhanced.dcm"
    placed(frames(path), (3, 0, 5, 1, 4, 2), path)
    for where in (path, tmp_path):
        volume = read_volume(where)
        assert codes(volume) == []
        assert np.array_equal(volume.voxels, voxels())
        assert volume.grid.spacing_mm == pytest.approx((0.8, 0.7, STEP_MM))
        assert volume.grid.origin_mm == pytest.approx((-100, -90, 30))


def test_each_frame_has_its_own_rescale(tmp_path):
    path = tmp_path / "enhanced.dcm"
    dataset = frames(path)
    del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        told = Dataset()
        told.RescaleSlope, told.RescaleIntercept, told.RescaleType = (
            1 + number,
            -1024 - number,
            "HU",
        )
        group.PixelValueTransformationSequence = [told]
    placed(dataset, range(6), path)
    number = np.arange(6)[:, None, None]
    expected = (voxels().astype(int) + 1024) * (1 + number) - 1024 - number
    assert np.array_equal(read_volume(path).voxels, expected)


def test_several_stacks_are_refused_by_name(tmp_path):
    path = tmp_path / "enhanced.dcm"
    dataset = frames(path)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.StackID = "arterial" if number < 3 else "venous"
        group.FrameContentSequence = [content]
    placed(dataset, (0, 1, 2, 3, 4, 5), path)
    finding = aside(path)
    assert finding.code == "dicom_series_mixed"
    assert "'arterial'" in finding.reason
    assert "'venous'" in finding.reason


def test_two_frames_at_one_place_are_refused_by_number(tmp_path):
    path = tmp_path / "enhanced.dcm"
    dataset = frames(path)
    placed(dataset, range(6), path)
    group = dataset.PerFrameFunctionalGroupsSequence[4]
    group.PlanePositionSequence[0].ImagePositionPatient = [-100, -90, 30 + 3 * STEP_MM]
    dataset.save_as(path)
    finding = aside(path)
    assert finding.code == "dicom_series_mixed"
    assert "enhanced.dcm, frame 4 and enhanced.dcm, frame 5" in finding.reason


def test_a_frame_without_a_place_is_named(tmp_path):
    path = tmp_path / "enhanced.dcm"
    dataset = frames(path)
    placed(dataset, range(6), path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    dataset.save_as(path)
    finding = aside(tmp_path)
    assert finding.code == "dicom_not_volume"
    assert "no ImagePositionPatient of single frames (1 file: enhanced.dcm)" in finding.reason


def test_compressed_frames_and_turned_round_ones(tmp_path):
    path = tmp_path / "enhanced.dcm"
    dataset = frames(path)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    placed(dataset, (5, 4, 3, 2, 1, 0), path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path)
    assert np.array_equal(read_volume(path).voxels, voxels())


def test_a_file_for_each_half_of_a_series(tmp_path):
    for name, part in (("a", (0, 1, 2)), ("b", (5, 4, 3))):
        path = tmp_path / f"{name}.dcm"
        write_slice(path, voxels()[list(part)], 0)
        dataset = pydicom.dcmread(path)
        for number, group in zip(part, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            place = [-100, -90, 30 + number * STEP_MM]
            group.PlanePositionSequence[0].ImagePositionPatient = place
        dataset.save_as(path)
    assert np.array_equal(read_volume(tmp_path).voxels, voxels())


def test_single_slices_that_highdicom_converts(tmp_path):
    """A second program writes the file: the volume is that of the slices."""
    single = str(get_testdata_file("CT_small.dcm"))
    (tmp_path / "slices").mkdir()
    slices = []
    for number in range(4):
        dataset = pydicom.dcmread(single)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + 5 * number]
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), number + 1
        dataset.PixelData = np.roll(dataset.pixel_array, 9 * number, axis=1).tobytes()
        dataset.save_as(tmp_path / "slices" / f"{number}.dcm")
        slices.append(dataset)
    converted = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
    converted.save_as(tmp_path / "enhanced.dcm")
    one, other = read_volume(tmp_path / "slices"), read_volume(tmp_path / "enhanced.dcm")
    assert np.array_equal(one.voxels, other.voxels)
    assert one.grid == other.grid
    assert one.grid.size_xyz == (128, 128, 4)


def test_an_enhanced_file_beside_single_slices_is_another_series(tmp_path):
    write_series(tmp_path)
    write_slice(tmp_path / "multi.dcm", voxels(), 0, **{"0020|000e": "1.2.3"})
    finding = aside(tmp_path)
    assert finding.code == "dicom_series_mixed"
    assert f"[{SHAPE[0]}, {SHAPE[0]}]" in finding.reason
