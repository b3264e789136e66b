"""Reading a case: every defect is a finding with its code, none is an accident."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.reading import read_case
from curate.datasets.discover import SourceCase
from manifests.ground.findings import SetAsideError
from tests.curate.defects import AFFINE, SHAPE, ct, label, write_case, write_nifti
from tests.oriented import oriented

VALUES = {1: ("liver",), 2: ("liver_tumour",)}


def codes(findings):
    return sorted(f.code for f in findings)


def read(folder, *args, **kwargs):
    hu, ids, findings = read_case(write_case(folder / "c", *args, **kwargs), VALUES)
    assert hu.grid == ids.grid
    return hu.voxels, ids.voxels, findings


def aside(folder, *args, **kwargs):
    with pytest.raises(SetAsideError) as error:
        read(folder, *args, **kwargs)
    return error.value.finding


def moved(by=(0, 0, 0), scale=1.0):
    affine = AFFINE.copy()
    affine[:3, 3] += by
    affine[:3, 2] *= scale
    return {"sform": affine, "qform": affine}


def test_a_good_case_is_read_as_it_is(tmp_path):
    hu, ids, findings = read(tmp_path)
    assert findings == []
    assert np.array_equal(hu, ct())
    assert np.array_equal(ids, label())
    assert ids.dtype == np.uint8


# --- image and label --------------------------------------------------------------------------


def test_rounding_in_a_header_is_repaired_and_noted(tmp_path):
    case = write_case(tmp_path, in_label=moved((0, 0, 0.001)))
    hu, ids, findings = read_case(case, VALUES)
    assert codes(findings) == ["grid_rounding"]
    assert ids.grid.origin_mm == hu.grid.origin_mm == pytest.approx((-100, -90, 30))


@pytest.mark.parametrize(
    "header",
    [moved((0, 0, 5.0)), moved(scale=1.04), moved((0.25, 0, 0)), moved(scale=-1.0)],
    ids=["origin", "spacing", "just beyond rounding", "direction"],
)
def test_grids_that_truly_differ_are_set_aside(tmp_path, header):
    assert aside(tmp_path, in_label=header).code == "grid_mismatch"


def test_a_quarter_of_a_voxel_is_rounding(tmp_path):
    """As where 512 columns of 0.9766 mm are written as 0.977 mm."""
    case = write_case(tmp_path, in_label=moved((0.2, 0, 0)))
    assert codes(read_case(case, VALUES)[2]) == ["grid_rounding"]


def test_sizes_that_differ_are_set_aside(tmp_path):
    assert aside(tmp_path, label_voxels=label()[:, :, :3]).code == "grid_mismatch"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(False, False, True), (True, True, False), (True, True, True)])
def test_a_label_that_is_stored_in_another_order_is_turned(tmp_path, order, flips):
    """The file's axis n is the image's axis order[n], backwards if flips[n]."""
    xyz = label().T.transpose(order)
    xyz = xyz[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    affine = np.eye(4)
    affine[:3, :3] = AFFINE[:3, list(order)] * np.where(flips, -1, 1)
    ends = [
        label().T.shape[axis] - 1 if flip else 0 for axis, flip in zip(order, flips, strict=True)
    ]
    affine[:3, 3] = AFFINE[:3, 3] + AFFINE[:3, list(order)] @ ends
    header = {"sform": affine, "qform": affine}
    _, ids, findings = read(tmp_path, label_voxels=xyz.T, in_label=header)
    assert np.array_equal(ids, label())
    assert "label_reoriented" in codes(findings)


# --- label ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int16, np.int64])
def test_labels_of_any_type_that_hold_whole_numbers(tmp_path, dtype):
    _, ids, findings = read(tmp_path, label_voxels=label(dtype))
    assert np.array_equal(ids, label())
    assert findings == []


def test_a_label_off_whole_numbers_by_a_trifle_is_rounded(tmp_path):
    _, ids, findings = read(tmp_path, label_voxels=label(np.float32) * np.float32(1.0001))
    assert np.array_equal(ids, label())
    assert codes(findings) == ["label_rounded"]
    assert "0.0002" in findings[0].reason


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (label(np.float32) * 0.5, "label_not_integer"),
        (label(np.float32) * 1.01, "label_not_integer"),
        (np.where(label() == 2, np.nan, label()).astype(np.float32), "label_not_integer"),
        (-label(np.int16), "label_negative"),
        (label() * 2, "value_unlisted"),
        (label(np.int32) * 70000, "value_unlisted"),
    ],
)
def test_values_that_cannot_be_used_are_set_aside(tmp_path, voxels, code):
    assert aside(tmp_path, label_voxels=voxels).code == code


def test_an_empty_label_is_noted(tmp_path):
    assert codes(read(tmp_path, label_voxels=label() * 0)[2]) == ["label_empty"]


def test_a_label_with_a_slope_is_scaled(tmp_path):
    _, ids, findings = read(tmp_path, label_voxels=label() * 2, in_label={"scaling": (0.5, 0)})
    assert np.array_equal(ids, label())
    assert findings == []


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize(
    "content",
    [b"", b"no nifti", b"a text file, rather long\n" * 99, gzip.compress(b"no nifti either" * 99)],
    ids=["empty", "short", "text", "compressed text"],
)
def test_a_file_that_is_no_image(tmp_path, which, content):
    case = write_case(tmp_path)
    getattr(case, which).write_bytes(content)
    with pytest.raises(SetAsideError, match="expected a NIfTI file") as error:
        read_case(case, VALUES)
    assert error.value.finding.code == "unreadable"


def test_a_folder_instead_of_a_file(tmp_path):
    case = write_case(tmp_path)
    case.label.unlink()
    case.label.mkdir()
    with pytest.raises(SetAsideError, match="DICOM") as error:
        read_case(case, VALUES)
    assert error.value.finding.code == "unreadable"


def test_a_file_that_is_not_there(tmp_path):
    case = SourceCase("d", "c", tmp_path / "no.nii.gz", tmp_path / "label.nii.gz")
    with pytest.raises(SetAsideError) as error:
        read_case(case, VALUES)
    assert error.value.finding.code == "file_missing"


# --- spacing ----------------------------------------------------------------------------------


def test_unit_spacing_is_suspect_but_read(tmp_path):
    header = {"sform": np.eye(4), "qform": np.eye(4)}
    assert "spacing_suspect" in codes(read(tmp_path, in_image=header, in_label=header)[2])


def test_what_is_odd_in_both_headers_is_noted_once(tmp_path):
    mirrored = AFFINE @ np.diag([-1, 1, 1, 1])
    header = {"sform": mirrored, "qform": mirrored}
    assert codes(read(tmp_path, in_image=header, in_label=header)[2]) == ["axes_left_handed"]


def test_what_is_odd_in_the_label_alone_says_so(tmp_path):
    header = {"sform": AFFINE, "qform": AFFINE @ np.diag([1, 1, 1.1, 1])}
    findings = read(tmp_path, in_label=header)[2]
    assert codes(findings) == ["forms_disagree"]
    assert findings[0].reason.startswith("label: sform")


# --- the real patient as a DICOM series -------------------------------------------------------


def test_a_dicom_folder_gives_what_its_conversion_gives(shared_data):
    folder = shared_data / "totalsegmentator" / "example_ct_dicom"
    values = range(1, 200)
    converted = SourceCase("d", "n", folder / "image.nii.gz", folder / "label.nii.gz")
    series = SourceCase("d", "s", folder / "dicom", folder / "label.nii.gz")
    expected, found = (read_case(case, values) for case in (converted, series))
    for one, other in zip(expected[:2], found[:2], strict=True):
        one, other = (oriented(v, "LPS") for v in (one, other))
        assert np.array_equal(one.voxels, other.voxels)
        assert np.allclose(one.grid.origin_mm, other.grid.origin_mm, atol=1e-3)
    assert codes(expected[2]) == ["axes_left_handed"]
    assert "label_reoriented" in codes(found[2])


def test_the_image_may_be_of_another_format(tmp_path):
    case = write_case(tmp_path)
    sitk.WriteImage(sitk.ReadImage(str(case.image)), str(tmp_path / "image.nrrd"), True)
    other = SourceCase("d", "c", tmp_path / "image.nrrd", case.label)
    hu, ids, findings = read_case(other, VALUES)
    assert np.array_equal(hu.voxels, ct())
    assert ids.voxels.shape == SHAPE
    assert set(codes(findings)) <= {"grid_rounding"}


def test_nan_in_another_format(tmp_path):
    case = write_case(tmp_path)
    spoilt = sitk.GetImageFromArray(np.full(SHAPE, np.nan, np.float32))
    sitk.WriteImage(spoilt, str(tmp_path / "image.mha"))
    with pytest.raises(SetAsideError) as error:
        read_case(SourceCase("d", "c", tmp_path / "image.mha", case.label), VALUES)
    assert error.value.finding.code == "intensity_invalid"


def test_a_plain_file_under_a_compressed_name_and_the_other_way_round(tmp_path):
    case = write_case(tmp_path)
    write_nifti(tmp_path / "plain.nii", ct()).rename(case.image)
    case.label.rename(tmp_path / "label.nii")
    hu, ids, _ = read_case(SourceCase("d", "c", case.image, tmp_path / "label.nii"), VALUES)
    assert np.array_equal(hu.voxels, ct())
    assert np.array_equal(ids.voxels, label())
