"""Slices that a tilted gantry shifts, or that were planned with two distances."""

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.ground.findings import SetAsideError
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.readers.layers import Layers, on_grid
from manifests.volumes.readers.repairs import Repairs
from manifests.volumes.resampling.resampling import resample_image
from manifests.volumes.volume import read_volume
from tests.made_dicom import (
    CENTRE_MM,
    SIZE_XY,
    TWO,
    aside,
    ball_hu,
    centre_mm,
    codes,
    position,
    write_ball,
    write_series,
)

UNEVEN = Repairs(resample_uneven=True)


def assert_shows_the_ball(volume, *, within_hu):
    z, y, x = volume.voxels.shape
    at = volume.grid.position_mm(np.indices((z, y, x)).transpose(1, 2, 3, 0)[..., ::-1])
    assert np.abs(volume.voxels - ball_hu(at)).max() < within_hu
    np.testing.assert_allclose(centre_mm(volume), CENTRE_MM, atol=0.05)


@pytest.mark.parametrize("degrees", [18.5, -18.5, 30.0, -7.0])
def test_a_tilt_of_either_sign_is_straightened_where_it_lies(tmp_path, degrees):
    volume = read_volume(write_ball(tmp_path, degrees, np.arange(0, 44, 2.0)))
    assert codes(volume) == ["axes_oblique", "gantry_tilt_straightened"]
    assert f"{abs(degrees):.1f} degrees" in volume.findings[0].reason
    assert volume.grid.spacing_mm[2] == pytest.approx(2 * np.cos(np.deg2rad(degrees)))
    # on the slope of 390 HU per mm, a tenth of a voxel is 27 HU
    assert_shows_the_ball(volume, within_hu=20)
    harmonised = harmonised_grid(volume.grid, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(centre_mm(resample_image(volume, harmonised)), CENTRE_MM, atol=0.05)


def test_a_label_keeps_its_values_through_a_tilt(tmp_path):
    write_ball(tmp_path, 18.5, np.arange(0, 44, 2.0))
    files = tmp_path.iterdir()
    made = {v for f in files for v in np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(f))))}
    image, label = read_volume(tmp_path), read_volume(tmp_path, is_label=True)
    assert label.grid == image.grid
    assert {*np.unique(label.voxels)} <= {*made, 0}
    assert not {*np.unique(image.voxels)} <= {*made, 0}
    outside = label.voxels == 0
    assert 0.1 < outside.mean() < 0.4
    apart = np.where(outside, 0, label.voxels.astype(int) - image.voxels)
    assert np.abs(apart).max() < 145  # on the slope, half a voxel


def test_a_tilt_is_set_aside_if_that_is_wanted_or_if_it_is_none(tmp_path):
    def code(folder, repairs):
        with pytest.raises(SetAsideError, match="degrees") as error:
            read_volume(folder, repairs)
        return error.value.finding.code

    folder = write_ball(tmp_path / "tilt", 10, np.arange(0, 20, 2.0))
    assert code(folder, Repairs(straighten_tilt=False)) == "dicom_gantry_tilt"
    jump = write_series(tmp_path / "jump", **position(lambda n: (0, 9 * (n == 3), 0)))
    finding = aside(jump)
    assert finding.code == "dicom_gantry_tilt"
    assert "s6.dcm is 9 mm beside the others" in finding.reason


def test_two_planned_distances_are_told_or_resampled(tmp_path):
    with pytest.raises(
        SetAsideError, match=r"1\.5 mm \(14 slices\) and 3 mm \(8 slices\)"
    ) as error:
        read_volume(write_ball(tmp_path, 0, TWO))
    assert error.value.finding.code == "slice_distances_differ"
    assert "--resample-uneven" in error.value.finding.reason
    volume = read_volume(tmp_path, UNEVEN)
    assert codes(volume) == ["slice_distances_resampled"]
    assert volume.grid.spacing_mm[2] == pytest.approx(1.5)
    assert volume.grid.size_xyz == (*SIZE_XY, 31)
    assert_shows_the_ball(volume, within_hu=180)  # between slices 3 mm apart


def test_two_distances_and_a_tilt(tmp_path):
    volume = read_volume(write_ball(tmp_path, -12, TWO), UNEVEN)
    assert codes(volume) == [
        "axes_oblique",
        "gantry_tilt_straightened",
        "slice_distances_resampled",
    ]
    assert_shows_the_ball(volume, within_hu=180)


def test_even_slices_are_not_touched_by_a_repair(tmp_path):
    write_ball(tmp_path, 0, np.arange(0, 44, 2.0))
    usual, allowed = read_volume(tmp_path), read_volume(tmp_path, UNEVEN)
    assert usual.grid == allowed.grid
    assert np.array_equal(usual.voxels, allowed.voxels)
    assert codes(usual) == []


@pytest.mark.parametrize(
    "depths",
    [
        np.delete(np.arange(0, 44, 2.0), 9),  # one is missing
        np.delete(np.arange(0, 44, 2.0), [9, 10, 15]),
        np.concatenate([np.arange(0, 20, 1.5), np.arange(27, 51, 3.0)]),  # a gap between the two
    ],
)
def test_a_gap_is_never_resampled(tmp_path, depths):
    with pytest.raises(SetAsideError, match="missing") as error:
        read_volume(write_ball(tmp_path, 0, depths), UNEVEN)
    assert error.value.finding.code == "dicom_slices_missing"


def test_numbers_tell_missing_slices_from_a_wider_distance(tmp_path):
    """Every second slice of the upper half is missing, by the numbers of the instances."""
    write_ball(tmp_path, 0, TWO)
    for file in tmp_path.iterdir():
        number = int(file.stem[1:])
        if number > 14:
            content = file.read_bytes()
            old = b"\x20\x00\x13\x00\x02\x00\x00\x00" + str(number).encode()
            assert old in content
            new = str(2 * number - 14).encode()
            file.write_bytes(content.replace(old, old[:8] + new))
    with pytest.raises(
        SetAsideError, match=r"instance numbers 15, 17, 19, 21, 23, \.\.\."
    ) as error:
        read_volume(tmp_path, UNEVEN)
    assert error.value.finding.code == "dicom_slices_missing"


@pytest.mark.parametrize("step", [0.625, 0.75, 1.25])
def test_positions_rounded_to_a_decimal_are_no_gaps(tmp_path, step):
    volume = read_volume(write_ball(tmp_path, 0, np.arange(40) * step, digits=1))
    assert codes(volume) == ["dicom_spacing_uneven"]
    assert "rounded to 0.1 mm" in volume.findings[0].reason
    assert volume.grid.spacing_mm[2] == pytest.approx(step, rel=0.005)
    depths = np.delete(np.arange(40), 20) * step
    with pytest.raises(SetAsideError, match="missing"):
        read_volume(write_ball(tmp_path / "gap", 0, depths, digits=1))


def test_a_label_that_is_shifted_by_half_a_pixel_keeps_each_column_once():
    offsets = np.array([[0.0, 0.0, 0.0], [0.5, 1.0, 1.0]])
    layers = Layers(np.eye(3), (1.0, 2.0), np.zeros(3), offsets)  # by half a pixel along x and y
    label = np.stack([np.arange(1, 31).reshape(5, 6)] * 2).astype(np.uint8)
    shifted, _ = on_grid(label, layers, 1.0, is_label=True)
    for layer in shifted:
        np.testing.assert_array_equal(np.sort(layer[layer > 0]), np.arange(1, 31))
