"""Label map files: what is one of ours, and what is not."""

import gzip
import math

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from train.prediction.label_map_file import note_of, write_label_map


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x1f\x8b" + bytes(500),
        b"\x1f\x8b\x08" + b"\xff" * 500,
        gzip.compress(bytes(range(256)) * 4)[:200],
    ],
)
def test_a_damaged_file_is_no_label_map_of_ours(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert note_of(tmp_path / "a.nii.gz") == ""


@pytest.fixture
def labels():
    """An oblique grid with one labelled voxel."""
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10.0, 20.0, 30.0))
    c, s = math.cos(0.1), math.sin(0.1)
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    image[1, 2, 3] = 5
    return image


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", None])
def test_a_label_map_says_that_it_is_one_and_lies_where_the_scan_lies(tmp_path, labels, suffix):
    scan = None if suffix is None else tmp_path / f"scan{suffix}"
    if scan:
        sitk.WriteImage(labels, str(scan))
    write_label_map(labels, tmp_path / "map.nii.gz", scan=scan, note="a note")
    header = nib.load(tmp_path / "map.nii.gz").header
    assert header.get_intent()[0] == "label"
    assert header["descrip"].item() == b"a note"
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    read = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    assert read.GetPixelID() == sitk.sitkUInt8
    assert read[1, 2, 3] == 5
    assert read.GetOrigin() == pytest.approx(labels.GetOrigin(), abs=1e-4)
    assert read.GetSpacing() == pytest.approx(labels.GetSpacing(), abs=1e-5)
    np.testing.assert_allclose(read.GetDirection(), labels.GetDirection(), atol=1e-6)
