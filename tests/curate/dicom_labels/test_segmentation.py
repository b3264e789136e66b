"""DICOM SEG written by highdicom, on the grid of the CT that it refers to."""

from functools import partial

import highdicom as hd
import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from curate.cases.reading import read_case
from curate.cases.target import Target
from curate.datasets.discover import discover
from curate.dicom_labels import file_head
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import RecipeError, SourceError
from manifests.ground.findings import SetAsideError
from tests.curate.dicom_files import ct_series, segment, write_seg

SHAPE = (10, 24, 20)  # z, y, x
LIVER, SPLEEN = np.s_[2:5, 4:12, 3:9], np.s_[4:8, 10:18, 12:18]

RECIPE = """
name = "sent"
title = "As a hospital sends it"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "dicom"
roots = ["sent"]
case = 'p\\d+'
images = ["{{case}}"]
labels = ["{{case}}"]
{layout}

[names]
{names}
"""
NAMES = """
"liver" = ["liver", "liver_tumour"]
"spleen" = ["spleen"]
"""
pytestmark = pytest.mark.usefixtures("_in_this_process")


def ct(seed=0):
    return np.random.default_rng(seed).normal(40, 10, SHAPE).astype(np.int16)


def box(*where):
    mask = np.zeros(SHAPE, bool)
    for one in where:
        mask[one] = True
    return mask


def masks(*found):
    return np.stack(found, axis=-1).astype(np.uint8)


def recipe(root, names=NAMES, layout=""):
    path = root / "sent.toml"
    path.write_text(RECIPE.format(names=names, layout=layout))
    return load_recipe(path)


def read(root, names=NAMES, layout=""):
    told = recipe(root, names, layout)
    case = discover(told, root / "sent")[0]
    scan, label, findings = read_case(case, told.values)
    return scan.voxels, label.voxels, [f.code for f in findings], findings


def aside(root, names='"liver" = ["liver", "liver_tumour"]', layout=""):
    with pytest.raises(SetAsideError) as error:
        read(root, names, layout)
    return error.value.finding


@pytest.fixture
def series(tmp_path):
    return ct_series(tmp_path / "sent" / "p1" / "ct", ct())


@pytest.fixture
def write(tmp_path, series):
    return partial(write_seg, tmp_path / "sent" / "p1" / "seg.dcm", series)


def test_segments_come_back_without_the_frames_that_were_left_out(tmp_path, write):
    voxels = masks(box(LIVER), box(SPLEEN))
    made = write(voxels, [segment(1, "Liver"), segment(2, "Spleen", "spleen")])
    assert made.NumberOfFrames == 3 + 4
    hu, label, *_ = read(tmp_path)
    np.testing.assert_array_equal(hu, ct())
    np.testing.assert_array_equal(label, voxels @ [1, 2])


def test_highdicom_reads_the_same(tmp_path, series):
    rng = np.random.default_rng(1)
    voxels = masks(rng.random(SHAPE) > 0.7, rng.random(SHAPE) > 0.9)
    voxels[[0, 3, 9]] = 0
    path = tmp_path / "sent" / "p1" / "seg.dcm"
    write_seg(path, series[::-1], voxels, [segment(1, "Liver"), segment(2, "Spleen")])
    theirs = hd.seg.segread(path).get_volume(combine_segments=False)
    _, label, *_ = read(tmp_path)
    firsts = np.array([[k, 0, 0] for k in range(len(theirs.array))])
    z_mm = theirs.map_indices_to_reference(firsts)[:, 2]
    expected = np.where(theirs.array[..., 0], 1, 2 * theirs.array[..., 1])
    np.testing.assert_array_equal(label[np.rint((z_mm - 30) / 3).astype(int)], expected)
    assert label.any(axis=(1, 2)).sum() == 7


@pytest.mark.parametrize(
    ("threshold", "kept"), [("", 2), ("threshold = 0.8", 1), ("threshold = 0.2", 3)]
)
def test_the_threshold_of_fractions_is_the_recipes(tmp_path, write, threshold, kept):
    voxels = np.zeros((*SHAPE, 1))
    voxels[5, 5, 5:8, 0] = 0.3, 0.5, 0.9
    write(voxels, [segment(1, "Liver")], kind="FRACTIONAL", max_fractional_value=200)
    _, label, codes, findings = read(tmp_path, '"liver" = ["liver", "liver_tumour"]', threshold)
    assert label.sum() == label[5, 5, 8 - kept : 8].sum() == kept
    assert "label_thresholded" in codes
    assert any((threshold[-3:] or "0.5") in f.reason for f in findings)


def test_a_label_map_is_read_without_its_background(tmp_path, write):
    voxels = (1 * box(LIVER) + 2 * (box(SPLEEN) & ~box(LIVER))).astype(np.uint8)
    write(voxels, [segment(1, "Liver"), segment(2, "Spleen")], kind="LABELMAP")
    _, label, *_ = read(tmp_path)
    np.testing.assert_array_equal(label, voxels)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("#2", [2]),
        ("kid.*", [2, 3]),
        ("SCT:64033007", [2, 3]),
        ("SCT:64033007 + SCT:7771000", [3]),
        ("SCT:10200004", [1]),
        ("SCT:108369006+SCT:10200004", [4]),
        ("LIVER", [1]),
        ("Liver|tumour", [1, 4]),
    ],
)
def test_a_segment_is_meant_by_name_number_or_code(tmp_path, write, name, numbers):
    boxes = [np.s_[k : k + 1, 2:9, 3:8] for k in range(4)]
    described = [
        segment(1, "Liver"),
        segment(2, "Kidney R", "kidney", side="right"),
        segment(3, "Kidney L", "kidney", side="left"),
        segment(4, "tumour", "neoplasm", region="liver"),
    ]
    write(masks(*map(box, boxes)), described)
    _, label, *_ = read(tmp_path, f'"{name}" = ["liver", "liver_tumour"]')
    np.testing.assert_array_equal(label > 0, box(*(boxes[n - 1] for n in numbers)))


def test_the_ct_that_the_label_refers_to_is_taken(tmp_path):
    """Three series of one patient in one folder; two of them are labelled in the end."""
    folder = tmp_path / "sent" / "p1"
    written = [ct_series(folder, ct(n), names=f"{n}-{{}}.dcm") for n in range(3)]
    for wanted in (1, 2):
        write_seg(folder / "label.dcm", written[wanted], masks(box(LIVER)), [segment(1, "Liver")])
        hu, *_ = read(tmp_path, '"liver" = ["liver", "liver_tumour"]')
        np.testing.assert_array_equal(hu, ct(wanted))
    write_seg(folder / "other.dcm", written[0], masks(box(LIVER)), [segment(1, "Liver")])
    assert aside(tmp_path).code == "files_ambiguous"


def test_the_folders_of_a_ct_and_its_label_are_chosen_among_several(tmp_path):
    patient = tmp_path / "sent" / "p1"
    first, second = (ct_series(patient / f"{n}-CT", ct(n)) for n in range(2))
    ct_series(patient / "2-CT", ct(2))
    write_seg(patient / "3-SEG" / "1.dcm", second, masks(box(LIVER)), [segment(1, "Liver")])
    recipe(tmp_path, '"liver" = ["liver", "liver_tumour"]')
    text = (tmp_path / "sent.toml").read_text().replace('["{case}"]', '["{case}/*"]')
    (tmp_path / "sent.toml").write_text(text)
    told = load_recipe(tmp_path / "sent.toml")
    (case,) = discover(told, tmp_path / "sent")
    assert (case.image.name, case.label.name, case.finding) == ("1-CT", "3-SEG", None)
    write_seg(patient / "4-SEG" / "1.dcm", first, masks(box(LIVER)), [segment(1, "Liver")])
    (case,) = discover(told, tmp_path / "sent")
    assert case.finding.code == "files_ambiguous"


def test_what_is_listed_first_gets_the_voxels_where_segments_overlap(tmp_path, write):
    write(masks(box(LIVER), box(SPLEEN)), [segment(1, "Liver"), segment(2, "Spleen")])
    both = np.s_[4:8, 10:18, 5:18]
    write(masks(box(LIVER), box(both)), [segment(1, "Liver"), segment(2, "Spleen")])
    _, label, codes, _ = read(tmp_path)
    np.testing.assert_array_equal(label, np.where(box(LIVER), 1, 2 * box(both)))
    assert "masks_overlap" in codes
    swapped = "\n".join(reversed(NAMES.strip().splitlines()))
    _, label, *_ = read(tmp_path, swapped)
    np.testing.assert_array_equal(label, np.where(box(both), 1, 2 * box(LIVER)))


def test_a_segmentation_of_a_part_is_put_where_it_lies(tmp_path, series):
    """The frames are smaller than the CT's, and their rows run the other way."""
    theirs = hd.get_volume_from_series(series)
    # which has the slices from head to foot
    whole = theirs.with_array(box(LIVER)[::-1].astype(np.uint8))
    part = whole[3:9, 3:14, 2:15].flip_spatial([1])
    path = tmp_path / "sent" / "p1" / "seg.dcm"
    write_seg(path, series, part, [segment(1, "Liver")])
    assert hd.seg.segread(path).Rows == 11
    _, label, *_ = read(tmp_path, '"liver" = ["liver", "liver_tumour"]')
    np.testing.assert_array_equal(label, box(LIVER))


def test_a_label_of_another_grid_or_series_is_set_aside_with_tag_and_numbers(
    tmp_path, series, write
):
    write(masks(box(LIVER)), [segment(1, "Liver")])
    other = ct_series(tmp_path / "elsewhere", ct(), origin=(-100.75, -90, 30))
    for one, own in zip(other, series, strict=True):
        one.SeriesInstanceUID = own.SeriesInstanceUID
    write_seg(tmp_path / "sent" / "p1" / "seg.dcm", other, masks(box(LIVER)), [segment(1, "Liver")])
    found = aside(tmp_path)
    assert found.code == "grid_mismatch"
    for word in ("seg.dcm", "frame 1", "(0020,0032)", "0.3 voxels", "got 0.5"):
        assert word in found.reason
    other = ct_series(tmp_path / "other", ct())
    write_seg(tmp_path / "sent" / "p1" / "seg.dcm", other, masks(box(LIVER)), [segment(1, "Liver")])
    found = aside(tmp_path)
    assert found.code == "dicom_series_other"
    for word in ("(0020,000e)", other[0].SeriesInstanceUID, series[0].SeriesInstanceUID):
        assert word in found.reason


def test_a_label_beyond_the_image_is_set_aside(tmp_path, write):
    write(masks(box(LIVER)), [segment(1, "Liver")])
    for name in ("0.dcm", "1.dcm", "2.dcm"):
        (tmp_path / "sent" / "p1" / "ct" / name).unlink()
    found = aside(tmp_path)
    assert found.code == "grid_mismatch"
    assert "outside" in found.reason


def test_a_segment_in_two_files_is_set_aside_and_two_in_one_are_joined(tmp_path, write, series):
    write(masks(box(LIVER), box(SPLEEN)), [segment(1, "liver left"), segment(2, "liver right")])
    _, label, *_ = read(tmp_path, '"liver.*" = ["liver", "liver_tumour"]')
    np.testing.assert_array_equal(label, box(LIVER, SPLEEN))
    write_seg(tmp_path / "sent/p1/2.dcm", series, masks(box(LIVER)), [segment(1, "liver left")])
    found = aside(tmp_path, '"liver.*" = ["liver", "liver_tumour"]')
    assert found.code == "files_ambiguous"
    assert "2.dcm" in found.reason
    write_seg(tmp_path / "sent/p1/2.dcm", series, masks(box(LIVER)), [segment(1, "gallbladder")])
    _, label, *_ = read(tmp_path, '"liver.*|gall.*" = ["liver", "liver_tumour"]')
    np.testing.assert_array_equal(label, box(LIVER, SPLEEN))


def prepared(root, told):
    request = PrepareRequest(
        (told,), root, Target(load_label_space("abdomen5"), (3.0, 3.0, 3.0), root / "out")
    )
    return plan(request), prepare(request, workers=1)


def test_bad_files_end_no_run_and_missing_segments_mean_what_the_recipe_says(tmp_path):
    for n in range(1, 6):
        folder = tmp_path / "sent" / f"p{n}"
        written = ct_series(folder / "ct", ct(n))
        segments = [segment(1, "Liver"), segment(2, "Spleen", "spleen")]
        write_seg(folder / "seg.dcm", written, masks(box(LIVER), box(SPLEEN)), segments)
    alone = tmp_path / "sent" / "p2" / "seg.dcm"
    written = ct_series(tmp_path / "sent" / "p2" / "ct", ct(2))
    write_seg(alone, written, masks(box(LIVER)), [segment(1, "Liver")])
    cut = tmp_path / "sent" / "p3" / "seg.dcm"
    cut.write_bytes(cut.read_bytes()[:-800])
    bad = tmp_path / "sent" / "p4" / "seg.dcm"
    told = hd.seg.segread(bad)
    del told.SegmentSequence
    told.save_as(bad)
    (tmp_path / "sent" / "p5" / "seg.dcm").unlink()
    _, report = prepared(tmp_path, recipe(tmp_path))
    assert [case.case_id for case in report.manifest.cases()] == ["sent/p1"]
    rejected = {r.case.name: r.finding for r in report.rejected}
    assert {name: f.code for name, f in rejected.items()} == {
        "p2": "file_missing",
        "p3": "unreadable",
        "p4": "unreadable",
        "p5": "file_missing",
    }
    assert "'Spleen'" not in rejected["p2"].reason
    assert "'Liver'" in rejected["p2"].reason
    planned, report = prepared(tmp_path, recipe(tmp_path, layout='missing_mask = "not_annotated"'))
    assert planned[0].missing_masks == {"spleen": 1}
    cases = {case.case_id[-2:]: case for case in report.manifest.cases()}
    assert cases["p1"].merged == (0, 1, 2, 0, 0, 0)
    assert cases["p2"].merged == (0, 1, 0, 0, 0, 0)
    assert "mask_missing" in {f.code for f in cases["p2"].findings}


def test_a_misspelt_name_is_refused(tmp_path, write):
    write(masks(box(LIVER)), [segment(1, "Liver")])
    told = recipe(tmp_path, '"livr" = ["liver", "liver_tumour"]', 'missing_mask = "absent"')
    with pytest.raises(SourceError, match="livr"):
        discover(told, tmp_path / "sent")


@pytest.mark.parametrize(
    ("names", "layout", "told"),
    [
        ('"(" = ["liver", "liver_tumour"]', "", "not a regular expression"),
        ("", "", "names"),
        ('"liver" = ["liver", "liver_tumour"]', "threshold = 1.5", "threshold"),
        ('"liver" = ["liver"]', "", "unlabelled"),
    ],
)
def test_a_recipe_that_is_not_well_formed_is_refused(tmp_path, names, layout, told):
    with pytest.raises(RecipeError, match=told):
        recipe(tmp_path, names, layout)


def test_a_change_of_the_threshold_makes_the_case_again(tmp_path, write):
    write(masks(box(LIVER)) * 0.6, [segment(1, "Liver")], kind="FRACTIONAL")
    names = '"liver" = ["liver", "liver_tumour"]'
    _, report = prepared(tmp_path, recipe(tmp_path, names))
    assert next(iter(report.manifest.cases())).volume_ml[1] > 0
    planned, report = prepared(tmp_path, recipe(tmp_path, names, "threshold = 0.7"))
    assert len(planned[0].open) == 1
    assert next(iter(report.manifest.cases())).volume_ml[1] == 0


def test_a_file_that_is_compressed_as_a_whole(tmp_path, write, monkeypatch):
    made = write(masks(box(LIVER)), [segment(1, "Liver")])
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(tmp_path / "sent" / "p1" / "seg.dcm")
    _, label, *_ = read(tmp_path, '"liver" = ["liver", "liver_tumour"]')
    np.testing.assert_array_equal(label, box(LIVER))
    monkeypatch.setattr(file_head, "MOST_INFLATED", 1000)
    found = aside(tmp_path)
    assert (found.code, "1,000 bytes" in found.reason) == ("header_implausible", True)
