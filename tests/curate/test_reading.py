"""Reading a case: every defect is a finding with its code, none is an accident."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from curate.discover import SourceCase
from curate.reading import SetAsideError, read_case

SHAPE = (4, 5, 6)  # z, y, x
VALUES = {1: ("liver",), 2: ("liver_tumour",)}


def image(dtype=np.int16, fill=40.0):
    made = sitk.GetImageFromArray(np.full(SHAPE, fill, dtype))
    made.SetSpacing((0.8, 0.8, 2.5))
    made.SetOrigin((-100.0, -90.0, 30.0))
    return made


def label(dtype=np.uint8):
    voxels = np.zeros(SHAPE, dtype)
    voxels[1, 2, 3], voxels[2, 2, 3] = 1, 2
    made = sitk.GetImageFromArray(voxels)
    made.CopyInformation(image())
    return made


@pytest.fixture
def read(tmp_path):
    def _read(image_volume, label_volume):
        case = SourceCase("d", "c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
        sitk.WriteImage(image_volume, str(case.image))
        sitk.WriteImage(label_volume, str(case.label))
        return read_case(case, VALUES)

    return _read


def code_of(call, *args):
    with pytest.raises(SetAsideError) as error:
        call(*args)
    return error.value.finding.code


def test_a_good_case_is_read_as_it_is(read):
    hu, ids, findings = read(image(), label())
    assert findings == []
    assert sitk.GetArrayFromImage(hu).tolist() == np.full(SHAPE, 40).tolist()
    assert sitk.GetArrayFromImage(ids)[1:3, 2, 3].tolist() == [1, 2]
    assert ids.GetOrigin() == hu.GetOrigin()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int16])
def test_labels_of_any_type_that_hold_whole_numbers(read, dtype):
    _, ids, _ = read(image(np.float64), label(dtype))
    assert sitk.GetArrayFromImage(ids)[2, 2, 3] == 2


def test_rounding_in_a_header_is_repaired_and_noted(read):
    other = label()
    other.SetOrigin((-100.0, -90.0, 30.001))
    hu, ids, findings = read(image(), other)
    assert [f.code for f in findings] == ["grid_rounding"]
    assert ids.GetOrigin() == hu.GetOrigin()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda i: i.SetOrigin((-100.0, -90.0, 35.0)),
        lambda i: i.SetSpacing((0.8, 0.8, 2.6)),
        lambda i: i.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    ],
)
def test_grids_that_truly_differ(read, spoil):
    other = label()
    spoil(other)
    assert code_of(read, image(), other) == "grid_mismatch"


def test_sizes_that_differ(read):
    assert code_of(read, image(), label()[:, :, :3]) == "grid_mismatch"


def test_label_with_fractions(read):
    other = sitk.Cast(label(), sitk.sitkFloat32) * 0.5
    assert code_of(read, image(), other) == "label_not_integer"


def test_label_with_negative_values(read):
    other = sitk.Cast(label(), sitk.sitkInt16) * -1
    assert code_of(read, image(), other) == "label_not_integer"


def test_value_that_the_recipe_does_not_list(read):
    assert code_of(read, image(), label() * 2) == "value_unlisted"


def test_nan_in_the_image(read, tmp_path):
    read(image(), label())
    # ITK's NIfTI reader turns NaN into 0 before anyone can see it; other formats keep it.
    sitk.WriteImage(image(np.float32, np.nan), str(tmp_path / "image.mha"))
    case = SourceCase("d", "c", tmp_path / "image.mha", tmp_path / "label.nii.gz")
    assert code_of(read_case, case, VALUES) == "intensity_invalid"


def test_unit_spacing_is_suspect_but_read(read):
    hu, ids = image(), label()
    for i in (hu, ids):
        i.SetSpacing((1, 1, 1))
    assert [f.code for f in read(hu, ids)[2]] == ["spacing_suspect"]


def test_absurd_spacing(read):
    hu, ids = image(), label()
    for i in (hu, ids):
        i.SetSpacing((0.8, 0.8, 1000))
    assert code_of(read, hu, ids) == "geometry_invalid"


def test_several_components(read):
    assert code_of(read, sitk.Compose(image(), image()), label()) == "geometry_invalid"


@pytest.mark.parametrize("content", [b"", b"no nifti", gzip.compress(b"no nifti either" * 99)])
def test_a_file_that_is_no_image(read, tmp_path, content):
    read(image(), label())
    (tmp_path / "image.nii.gz").write_bytes(content)
    case = SourceCase("d", "c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    assert code_of(read_case, case, VALUES) == "unreadable"


def test_a_file_that_is_not_there(tmp_path):
    case = SourceCase("d", "c", tmp_path / "no.nii.gz", tmp_path / "label.nii.gz")
    assert code_of(read_case, case, VALUES) == "file_missing"
