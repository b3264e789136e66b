"""RTSTRUCT on a CT whose pixels are not square: contours to voxels by physical position."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset

from curate.dicom_labels.label_objects import read_label_object
from tests.curate.dicom_files import ORIGIN_MM, SPACING_MM, ct_series, write_rtstruct
from tests.curate.dicom_labels.test_segmentation import aside, box, ct, prepared, read, recipe

LIVER = '"liver" = ["liver", "liver_tumour"]'
pytestmark = pytest.mark.usefixtures("_in_this_process")


def mm(*indices):
    """Positions of indices x, y, z."""
    return np.array(ORIGIN_MM) + np.array(indices) * SPACING_MM


def square(z, x0=3.5, x1=8.5, y0=4.5, y1=11.5):
    return mm((x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z))


def drawn(zs, **corners):
    return [square(z, **corners) for z in zs]


@pytest.fixture
def series(tmp_path):
    return ct_series(tmp_path / "sent" / "p1" / "ct", ct())


@pytest.fixture
def write(tmp_path, series):
    return partial(write_rtstruct, tmp_path / "sent" / "p1" / "rt.dcm", series)


def test_regions_come_back_by_names_and_an_empty_one_was_not_drawn(tmp_path, write):
    write({"Liver_GTV 1": drawn(range(2, 5)), "Spleen": [], "SPLEEN new": drawn([7], x1=5.5)})
    names = """
    "liver.*" = ["liver", "liver_tumour"]
    "spleen.*" = ["spleen"]
    """
    _, label, codes, _ = read(tmp_path, names)
    expected = 1 * box(np.s_[2:5, 5:12, 4:9]) + 2 * box(np.s_[7, 5:12, 4:6])
    np.testing.assert_array_equal(label, expected)
    assert not {c for c in codes if c.startswith("contours")}
    found = aside(tmp_path, '"spleen" = ["spleen"]')
    assert found.code == "file_missing"
    assert "'SPLEEN new'" in found.reason


def test_holes_and_a_voxel_alone_are_kept(tmp_path, write):
    hole = drawn([3, 4], x0=4.5, x1=7.5, y0=6.5, y1=9.5)
    write({"liver": [*drawn([3, 4]), *hole, mm((15, 15, 8)), mm((5.2, 8.1, 4))]})
    _, label, *_ = read(tmp_path, LIVER)
    expected = box(np.s_[3:5, 5:12, 4:9])
    expected[3:5, 7:10, 5:8] = False
    expected[8, 15, 15] = expected[4, 8, 5] = True
    np.testing.assert_array_equal(label, expected)


def test_a_contour_listed_twice_is_no_hole(tmp_path, write):
    write({"liver": [*drawn([3, 4]), *drawn([4])]})
    _, label, codes, findings = read(tmp_path, LIVER)
    np.testing.assert_array_equal(label, box(np.s_[3:5, 5:12, 4:9]))
    assert "contours_left_out" in codes
    assert any("1 of 3" in f.reason for f in findings)


@pytest.mark.parametrize(
    ("zs", "slices", "told"),
    [
        ([2.2, 3.2, 4.2], [2, 3, 4], None),
        ([2.5, 3.5, 4.5], [3, 4, 5], "1.5 mm from slices"),  # as many slices as planes
        ([1, 3, 5, 7], range(0, 9), "6 mm apart, slices 3 mm"),
        (np.arange(2, 5, 0.5), [2, 3, 4], "1.5 mm apart"),
        ([1, 2, 3, 7, 8], [1, 2, 3, 7, 8], None),  # two parts
        ([1, 8], [1, 8], None),
        ([2.2, 2.35, 2.5], [2], "0.45 mm apart"),
    ],
)
def test_contours_between_slices_go_to_the_nearest(tmp_path, write, zs, slices, told):
    write({"liver": drawn(zs)})
    _, label, codes, findings = read(tmp_path, LIVER)
    found = np.flatnonzero(label.any(axis=(1, 2))).tolist()
    if told == "6 mm apart, slices 3 mm":  # a slab of 6 mm about each plane
        assert found == [*range(1, 9)]
    else:
        assert found == [*slices]
    assert ("contours_between_slices" in codes) == bool(told)
    assert not told or any(told in f.reason for f in findings)


def test_exchanged_pixel_spacings_are_refused(tmp_path, series):
    """As a program writes them that takes the first number of PixelSpacing for that of columns."""
    path = tmp_path / "sent" / "p1" / "rt.dcm"
    x_mm, y_mm, _ = SPACING_MM
    for lattice in (0, 0.5):
        right = drawn(range(2, 5), x0=3 + lattice, x1=9 + lattice, y0=4 + lattice, y1=11 + lattice)
        write_rtstruct(path, series, {"liver": right})
        read(tmp_path, LIVER)
        offset = np.array(ORIGIN_MM)
        wrong = [offset + (c - offset) * (y_mm / x_mm, x_mm / y_mm, 1) for c in right]
        write_rtstruct(path, series, {"liver": wrong})
        found = aside(tmp_path, LIVER)
        assert found.code == "contours_unusable"
        for word in ("rt.dcm", "(3006,0050)", "1.5 x 2 mm", "2 x 1.5 mm", "(0028,0030)"):
            assert word in found.reason


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: setattr(c, "NumberOfContourPoints", 5), "for each of 5 points, got 12 numbers"),
        (lambda c: setattr(c, "ContourData", [*c.ContourData[:-1], "90"]), "spans"),
        (lambda c: setattr(c, "ContourData", [*c.ContourData[:-1]]), "got 11 numbers"),
    ],
)
def test_damaged_contours_are_told_with_tag_and_numbers(tmp_path, write, change, told):
    made = write({"liver": drawn([3, 4])})
    change(made.ROIContourSequence[0].ContourSequence[1])
    made.save_as(tmp_path / "sent" / "p1" / "rt.dcm", enforce_file_format=True)
    found = aside(tmp_path, LIVER)
    assert found.code == "contours_unusable"
    for word in ("rt.dcm: region 1, contour 2", "(3006,0050)", told):
        assert word in found.reason


def test_contours_outside_of_the_image(tmp_path, write):
    write({"liver": drawn([-4, 2], x1=30)})
    _, label, codes, _ = read(tmp_path, LIVER)
    np.testing.assert_array_equal(label, box(np.s_[2, 5:12, 4:]))
    assert "contours_outside" in codes
    write({"liver": drawn([40, 41])})
    found = aside(tmp_path, LIVER)
    assert (found.code, "8 of 8" in found.reason) == ("grid_mismatch", True)


def test_a_file_without_preamble_as_older_planning_systems_write_it(tmp_path, write):
    path = tmp_path / "sent" / "p1" / "rt.dcm"
    for name in ("implicit", "explicit"):
        made = write({"liver": drawn([3, 4])})
        made.file_meta = None
        with path.open("wb") as file:
            writer = DicomFileLike(file)
            writer.is_little_endian, writer.is_implicit_VR = True, name == "implicit"
            write_dataset(writer, made)
        _, label, *_ = read(tmp_path, LIVER)
        np.testing.assert_array_equal(label, box(np.s_[3:5, 5:12, 4:9]))


def test_a_structure_set_that_pydicom_brings_along():
    """It has no preamble."""
    path = Path(str(get_testdata_file("rtstruct.dcm", download=False)))
    found = read_label_object(path)
    assert found.modality == "RTSTRUCT"
    assert [s.name for s in found.segments] == ["patient", "Isocenter 1", "Isocenter 2"]


def test_open_contours_enclose_nothing(tmp_path, write):
    write({"liver": drawn([2])}, kind="OPEN_PLANAR")
    _, label, codes, _ = read(tmp_path, LIVER)
    assert not label.any()
    assert "contours_left_out" in codes


def test_a_damaged_file_ends_no_run(tmp_path):
    for n in range(1, 4):
        written = ct_series(tmp_path / "sent" / f"p{n}" / "ct", ct(n))
        path = tmp_path / "sent" / f"p{n}" / "rt.dcm"
        made = write_rtstruct(path, written, {"liver": drawn([3, 4])})
    path.write_bytes(path.read_bytes()[:-40])
    del made.StructureSetROISequence
    made.save_as(tmp_path / "sent" / "p2" / "rt.dcm", enforce_file_format=True)
    for missing_mask in ("error", "not_annotated"):
        layout = f'missing_mask = "{missing_mask}"'
        _, report = prepared(tmp_path, recipe(tmp_path, LIVER, layout))
        assert [case.case_id for case in report.manifest.cases()] == ["sent/p1"]
        assert {r.case.name: r.finding.code for r in report.rejected} == {
            "p2": "unreadable",
            "p3": "unreadable",
        }
