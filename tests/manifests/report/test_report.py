"""The report's files: what is drawn, in which order, and that a stopped report goes on."""

import base64
import gzip
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from PIL import Image

from manifests.ground.errors import ManifestError, MarginaliaError
from manifests.ground.findings import Finding
from manifests.report.facts import case_facts, group_names, rare_absences, suspicion
from manifests.report.niivue import niivue_data
from manifests.report.planes import Scan, class_middles, middles, outline, strip
from manifests.report.report import ReportRequest, plan_report, write_report
from manifests.report.results import read_results
from manifests.report.viewer import LEVELS, companded, viewer_data

LIVER = (("liver", "liver_tumour"),)
SUSPECT = Finding("laterality_suspect", "liver: on the left")
NOTED = Finding("axes_oblique", "by 3 degrees")


def box(shape, **parts):
    volume = np.zeros(shape, np.uint8)
    for name, region in parts.items():
        volume[region] = int(name[1:])
    return volume


def test_the_slices_show_the_middle_of_each_class():
    # a large class in z 0 to 3 and a small one in z 6 to 8, which is not outweighed
    labels = box((20, 16, 10), c1=np.s_[2:18, 2:14, 0:4], c2=np.s_[5:8, 5:8, 6:9])
    labels[4:12, 4:12, 4] = 1
    assert class_middles(labels)[2][2] in (6, 7, 8)
    assert middles(labels)[0] in (5, 6, 7)
    assert middles(np.zeros((4, 6, 8), np.uint8)) == (2, 3, 4)


def test_slices_nobody_looked_at_are_not_what_is_shown():
    labels = box((20, 16, 10), c255=np.s_[:, :, 5:], c1=np.s_[4:8, 4:8, 1:4])
    assert middles(labels)[2] in (1, 2, 3)
    assert list(class_middles(labels)) == [1]


def test_a_box_is_outlined_by_its_border():
    labels = box((8, 8, 1), c3=np.s_[2:6, 1:7])[..., 0]
    expected = labels > 0
    expected[3:5, 2:6] = False
    np.testing.assert_array_equal(outline(labels), expected)


def test_a_strip_shows_the_left_on_the_right_and_the_head_above():
    hu = np.full((40, 40, 40), -1000, np.int16)
    labels = box(hu.shape, c1=np.s_[28:36, 16:24, 28:36])  # to the left, in the head's half
    pixels = Image.open(io.BytesIO(strip(Scan(hu, labels, None, (1.5, 1.5, 1.5)), {1: "#ff0000"})))
    red = np.array(pixels.convert("RGB")).astype(int)
    rows, columns = np.nonzero(red[..., 0] - red[..., 2] > 60)
    first, second = columns < 40, (columns >= 44) & (columns < 84)
    assert 27 <= columns[first].mean() <= 36  # axial: the right half
    assert 27 <= columns[second].mean() - 44 <= 36  # coronal: the right half
    assert 4 <= rows[second].mean() <= 12  # coronal: the upper half
    assert pixels.size == (3 * 40 + 2 * 4, 40)


def decoded(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_viewer_has_every_voxel_and_hounsfield_units_to_a_few():
    rng = np.random.default_rng(0)
    hu = np.full((12, 10, 7), 40, np.int16)
    labels = rng.integers(0, 6, hu.shape).astype(np.uint8)
    data = viewer_data(Scan(hu, labels, None, (1.0, 1.0, 1.0)))
    tiles, columns = decoded(data["labels"]), data["columns"]
    for z in range(7):
        row, column = divmod(z, columns)
        tile = tiles[row * 10 : (row + 1) * 10, column * 12 : (column + 1) * 12]
        np.testing.assert_array_equal(tile, labels[..., z].T)
    grey = decoded(data["hu"])[:10, :12, 0].astype(float)
    units, marks = zip(*LEVELS, strict=True)
    np.testing.assert_allclose(np.interp(grey, marks, units), 40, atol=8)
    known = np.array([-2000, -1024, -200, 300, 1500, 9000], np.int16)
    assert companded(known).tolist() == [0, 0, 40, 230, 255, 255]


def test_groups_of_merged_classes_have_the_names_of_all(abdomen5):
    assert group_names((0, 1, 0, 0, 4, 4), abdomen5.names) == {
        1: "liver",
        4: "left_kidney+right_kidney",
    }


def test_suspicion_counts_findings_and_the_oddest_label(make_case):
    odd = make_case(suspicion=(None, 0.4, 0.9, None, None, None))
    assert suspicion(odd, 0) == 0.9
    assert suspicion(odd, 2) == 2.9
    assert suspicion(replace(odd, findings=(SUSPECT, Finding("reviewed", "fine"))), 1) == 0
    assert suspicion(make_case(), 0) == 0  # of a manifest that has no such columns


def test_an_organ_that_one_case_alone_lacks_asks_for_a_look(abdomen5, make_case):
    absent = Finding("class_absent", "spleen is annotated and has no voxel")
    cases = [make_case(f"a/{n}") for n in range(5)]
    cases.append(make_case("a/odd", absent=["spleen"], findings=(absent,)))
    cases += [make_case(f"b/{n}", absent=["spleen"], findings=(absent,)) for n in range(6)]
    rare = rare_absences(cases, abdomen5)
    assert rare == {"a/odd": {"spleen"}}
    asked = [
        case_facts(c, abdomen5, None, odd_absences=rare.get(c.case_id, ()))["suspicion"]
        for c in cases
    ]
    assert asked == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


@pytest.fixture
def manifest(tmp_path, make_case, make_manifest, write_volumes, save_manifest):
    """Three cases: one with a finding that asks for a look, one without, one without files."""
    cases = [
        make_case("btcv/1", findings=(NOTED,)),
        make_case("btcv/2", findings=(SUSPECT,)),
        make_case(
            "msd/</script><b>", blocks=LIVER, image="cases/m/image.nii", label="cases/m/label.nii"
        ),
    ]
    written = [write_volumes(case, tmp_path) for case in cases]
    return save_manifest(make_manifest(written, folder=tmp_path))


def write(request):
    report = plan_report(request)
    return report, list(write_report(report))


def page_facts(out):
    text = (out / "data.js").read_text()
    return json.loads(text.removeprefix("marginaliaReport(").removesuffix(");"))


def test_the_most_suspicious_case_comes_first(manifest, tmp_path):
    out = tmp_path / "report"
    report, problems = write(ReportRequest(manifest, out, viewers=1))
    assert report.cases[0].case.case_id == "btcv/2"
    assert problems == ["", "", ""]
    assert [r.viewer for r in report.cases] == [True, False, False]
    assert len(list((out / "viewers").iterdir())) == 1
    assert len(list((out / "strips").iterdir())) == 3
    assert {"index.html", "report.css", "report.js", "viewer.js"} <= {p.name for p in out.iterdir()}


def test_no_text_of_a_file_ends_a_script(manifest, tmp_path):
    write(ReportRequest(manifest, tmp_path / "report"))
    text = (tmp_path / "report" / "data.js").read_text()
    assert "<" not in text
    assert page_facts(tmp_path / "report")["cases"][-1]["id"] == "msd/</script><b>"


def test_only_what_is_missing_is_drawn(manifest, tmp_path):
    request = ReportRequest(manifest, tmp_path / "report")
    write(request)
    strips = sorted((tmp_path / "report" / "strips").iterdir())
    before = [p.stat().st_mtime_ns for p in strips]
    strips[1].unlink()
    write(request)
    after = [p.stat().st_mtime_ns for p in strips]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] > before[1]


def test_a_case_that_cannot_be_drawn_stays_in_the_list(manifest, tmp_path):
    (tmp_path / "cases" / "btcv" / "1" / "image.nii").unlink()
    report, problems = write(ReportRequest(manifest, tmp_path / "report"))
    assert sum(map(bool, problems)) == 1
    (bad,) = [c for c in page_facts(tmp_path / "report")["cases"] if c["problem"]]
    assert bad["id"] == "btcv/1"
    assert not bad["viewer"]
    assert len(report.cases) == 3


def results_folder(folder, dice, predictions=()):
    folder.mkdir(parents=True)
    lines = ["dataset,case_id,class_id,class,outcome,dice"]
    lines += [f"btcv,{case},1,liver,compared,{value}" for case, value in dice.items()]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    summary = {"settings": {}, "predictions": dict(predictions)}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_results_come_worst_first_and_only_scored_cases(manifest, tmp_path):
    scores = results_folder(
        tmp_path / "run" / "evaluation" / "test", {"btcv/1": 0.3, "btcv/2": 0.9}
    )
    report, _ = write(ReportRequest(manifest, tmp_path / "report", run=tmp_path / "run"))
    assert [(r.case.case_id, r.facts["worst"]) for r in report.cases] == [
        ("btcv/1", 0.3),
        ("btcv/2", 0.9),
    ]
    assert read_results(scores).dice == {"btcv/1": {"liver": 0.3}, "btcv/2": {"liver": 0.9}}


def test_a_case_that_was_predicted_again_is_drawn_again(manifest, tmp_path):
    truth = (tmp_path / "cases" / "btcv" / "1" / "label.nii").read_bytes()
    scores = results_folder(tmp_path / "s", {"btcv/1": 0.3}, {"btcv/1": "label.nii"})
    request = ReportRequest(manifest, tmp_path / "report", run=scores)
    drawn = []
    for label_map in (truth, truth, truth[:-100] + bytes(100)):
        if not (scores / "label.nii").is_file() or (scores / "label.nii").read_bytes() != label_map:
            (scores / "label.nii").write_bytes(label_map)
        report, problems = write(request)
        assert problems == [""]
        drawn.append(report.cases[0].key)
    assert drawn[0] == drawn[1] != drawn[2]
    assert (tmp_path / "report" / "strips" / f"{drawn[2]}.webp").is_file()


@pytest.mark.usefixtures("manifest")
def test_a_label_map_outside_the_folder_of_scores_is_not_read(tmp_path):
    outside = tmp_path / "cases" / "btcv" / "1" / "label.nii"
    scores = results_folder(
        tmp_path / "s",
        {"btcv/1": 0.3},
        {"btcv/1": str(outside), "btcv/2": "../cases/btcv/2/label.nii"},
    )
    results = read_results(scores)
    assert results.prediction("btcv/1", (12, 10, 10)) is None
    assert results.prediction("btcv/2", (12, 10, 10)) is None


@pytest.mark.usefixtures("manifest")
def test_a_kept_label_map_is_read_by_the_values_that_were_scored(tmp_path):
    scores = results_folder(tmp_path / "s", {"btcv/1": 0.3}, {"btcv/1": "label.nii"})
    (scores / "label.nii").write_bytes(
        (tmp_path / "cases" / "btcv" / "1" / "label.nii").read_bytes()
    )
    results = read_results(scores)
    whole = results.prediction("btcv/1", (12, 10, 10))
    assert np.bincount(whole.ravel())[1:].tolist() == [10, 20, 30, 40, 50]
    told = replace(results, values={5: 1}).prediction("btcv/1", (12, 10, 10))
    assert np.bincount(told.ravel())[1:].tolist() == [50]
    assert results.prediction("btcv/1", (12, 10, 11)) is None


def test_what_is_no_evaluation_is_refused_with_the_next_step(manifest, tmp_path):
    with pytest.raises(ManifestError, match="run marginalia evaluate first"):
        plan_report(ReportRequest(manifest, tmp_path / "report", run=tmp_path))
    with pytest.raises(ManifestError, match="no case is left"):
        plan_report(ReportRequest(manifest, tmp_path / "report", where="dataset = 'none'"))


def test_a_file_in_place_of_the_folder_is_refused_before_anything_is_drawn(manifest, tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(MarginaliaError, match=r"report cannot be a folder: .*choose another one"):
        next(write_report(plan_report(ReportRequest(manifest, tmp_path / "report"))))
    assert (tmp_path / "report").read_text() == "mine"


def test_another_niivue_is_refused_before_anything_is_drawn(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("manifests.report.niivue.find_spec", lambda _: None)
    report = plan_report(ReportRequest(manifest, tmp_path / "report", niivue=True))
    with pytest.raises(ManifestError, match=r"pip install 'marginalia\[niivue\]'"):
        next(write_report(report))
    assert not (tmp_path / "report").exists()


def test_niivue_gets_the_volumes_as_they_lie(abdomen5):
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    labels = (hu % 6).astype(np.uint8)
    image, label = niivue_data(Scan(hu, labels, None, (1.5, 1.5, 3.0)), abdomen5)
    for volume, expected in ((image, hu), (label, labels)):
        packed = base64.b64decode(volume["base64"])
        read = Nifti1Image.from_bytes(gzip.decompress(packed))
        np.testing.assert_array_equal(np.asarray(read.dataobj), expected)
        np.testing.assert_array_equal(np.diag(read.affine), (-1.5, -1.5, 3.0, 1.0))
    assert label["colormap"]["labels"] == list(abdomen5.names)
