"""The dataset that nnU-Net gets: files, labels, folds, and what stands there already."""

import gzip
import json
from collections import Counter
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.changes.edits import edit
from manifests.exports.folds import make_folds
from manifests.exports.nnunet.documents import KEY, digest
from manifests.exports.nnunet.plan import NnunetRequest, plan_nnunet
from manifests.exports.nnunet.write import write_cases, write_documents
from manifests.exports.selection import select_for_export
from manifests.ground.errors import ExportError
from manifests.table.manifest import read_manifest, write_manifest
from marginalia import app

FULL, LIVER_ONLY = [0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 0, 0]
IGNORE = 6


def export(prepared, out, *, where=None, **options):
    plan = plan_nnunet(select_for_export(prepared, where), NnunetRequest(out, **options))
    problems = [w for w in write_cases(plan) if w.problem]
    write_documents(plan)
    return plan, problems


def labels_of(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "raw" / "Dataset501_Union"


def test_cases_go_by_split_as_hard_links(prepared, out):
    export(prepared, out)
    there = sorted(p.relative_to(out).as_posix() for p in out.glob("*/*"))
    training = ["btcv_1", "btcv_2", "lits_1", "lits_2", "lits_3"]
    assert there == [
        *(f"imagesTr/{name}_0000.nii" for name in training),
        "imagesTs/btcv_3_0000.nii",
        *(f"labelsTr/{name}.nii" for name in training),
        "labelsTs/btcv_3.nii",
    ]
    linked = out / "imagesTr" / "lits_1_0000.nii"
    assert linked.samefile(prepared.parent / "cases/lits/1/image.nii")


def test_dataset_json_says_who_labelled_what(prepared, out):
    export(prepared, out)
    document = json.loads((out / "dataset.json").read_text())
    assert document["labels"]["background"] == 0
    assert list(document["labels"].values()) == list(range(6))
    assert (document["numTraining"], document["file_ending"]) == (5, ".nii")
    assert document["channel_names"] == {"0": "CT"}
    ours = document[KEY]
    assert ours["merged"]["btcv_1"] == FULL
    assert ours["merged"]["lits_3"] == LIVER_ONLY
    assert ours["sha256"] == digest(ours)
    about = json.loads((out / "marginalia.json").read_text())
    assert about["sha256"] == ours["sha256"]
    assert about["cases"]["btcv_3"]["split"] == "test"
    assert about["cases"]["lits_1"]["blocks"] == [["liver", "liver_tumour"]]


def test_the_manifests_validation_split_is_the_fold(prepared, out):
    plan, _ = export(prepared, out)
    expected = [{"train": ["btcv_1", "lits_1", "lits_2"], "val": ["btcv_2", "lits_3"]}]
    assert list(plan.folds) == expected
    assert json.loads((out / "splits_final.json").read_text()) == expected


def test_folds_part_no_patient_and_spread_every_dataset(make_case):
    cases = [
        make_case(f"{dataset}/{n}", subject_id=f"{dataset}{n // 2}", split="train")
        for dataset in ("a", "b")
        for n in range(20)
    ]
    folds = make_folds(exported(cases), 5)
    assert sorted(n for fold in folds for n in fold["val"]) == sorted(
        c.name for c in exported(cases)
    )
    for fold in folds:
        assert not {*fold["train"]} & {*fold["val"]}
        assert Counter(name[0] for name in fold["val"]) == {"a": 4, "b": 4}
        held = {(n[0], int(n[2:]) // 2) for n in fold["val"]}
        assert not held & {(n[0], int(n[2:]) // 2) for n in fold["train"]}


def test_a_split_that_parts_a_patient_is_refused(make_case):
    cases = [make_case("a/1", subject_id="p"), make_case("a/2", subject_id="p", split="validation")]
    with pytest.raises(ExportError, match="of one patient"):
        make_folds(exported(cases))


def test_ignore_gives_every_fused_group_the_ignore_value(prepared, out):
    export(prepared, out, partial="ignore")
    before = labels_of(prepared.parent / "cases/lits/1/label.nii")
    label = labels_of(out / "labelsTr" / "lits_1.nii")
    assert (label[before == 1] == 1).all()
    assert (label[before == 0] == IGNORE).all()
    assert json.loads((out / "dataset.json").read_text())["labels"]["ignore"] == IGNORE
    whole = out / "labelsTr" / "btcv_1.nii"
    assert whole.samefile(prepared.parent / "cases/btcv/1/label.nii")


def test_ignore_covers_either_kidney_too(prepared, out):
    """Kidneys that an edit joined: nnU-Net would take their representative for the left one."""
    manifest = read_manifest(prepared)
    joined = edit(manifest, merge=[["left_kidney", "right_kidney"]], where="dataset = 'btcv'")
    write_manifest(joined, prepared)
    export(prepared, out, partial="ignore")
    before = labels_of(prepared.parent / "cases/btcv/1/label.nii")
    label = labels_of(out / "labelsTr" / "btcv_1.nii")
    assert (label[np.isin(before, (4, 5))] == IGNORE).all()
    kept = ~np.isin(before, (4, 5))
    np.testing.assert_array_equal(label[kept], before[kept])


def test_what_an_edit_dropped_is_dropped_from_the_labels_too(prepared, out):
    dropped = edit(read_manifest(prepared), drop=["spleen"], where="dataset = 'btcv'")
    write_manifest(dropped, prepared)
    export(prepared, out)
    before = labels_of(prepared.parent / "cases/btcv/1/label.nii")
    label = labels_of(out / "labelsTr" / "btcv_1.nii")
    np.testing.assert_array_equal(label, np.where(before == 2, 0, before))
    linked = out / "labelsTr" / "lits_1.nii"
    assert (labels_of(linked) == labels_of(prepared.parent / "cases/lits/1/label.nii")).all()


def test_ignored_voxels_get_nnunets_value(prepared, out, make_case, make_manifest, write_volumes):
    folder = prepared.parent
    case = write_volumes(make_case("a/1"), folder)
    path = folder / case.label
    content = bytearray(path.read_bytes())
    content[-100:] = bytes([255]) * 100
    path.write_bytes(content)
    counted = np.bincount(np.frombuffer(content[352:], np.uint8), minlength=256)[:6]
    case = replace(case, voxels=tuple(counted.tolist()))
    other = write_volumes(make_case("a/2", split="validation"), folder)
    write_manifest(make_manifest([case, other], folder=folder), prepared)
    export(prepared, out)
    assert json.loads((out / "dataset.json").read_text())["labels"]["ignore"] == IGNORE
    label = labels_of(out / "labelsTr" / "a_1.nii")
    assert (label == IGNORE).sum() == 100
    assert (out / "labelsTr" / "a_2.nii").samefile(folder / other.label)


def test_the_manifests_folds_are_taken(make_case):
    cases = [make_case(f"a/{n}", fold=n % 3, split="train") for n in range(6)]
    folds = make_folds(exported(cases))
    assert [fold["val"] for fold in folds] == [["a_0", "a_3"], ["a_1", "a_4"], ["a_2", "a_5"]]


def test_leave_out_takes_only_whole_cases(prepared, out):
    plan, _ = export(prepared, out, partial="leave-out")
    assert [c.name for c in plan.training] == ["btcv_1", "btcv_2"]
    assert plan.left_out == ("lits/1", "lits/2", "lits/3")


def test_compressed_files_hold_the_same_bytes(prepared, out):
    export(prepared, out, compress=True)
    with gzip.open(out / "imagesTr" / "lits_1_0000.nii.gz") as file:
        assert file.read() == (prepared.parent / "cases/lits/1/image.nii").read_bytes()
    assert json.loads((out / "dataset.json").read_text())["file_ending"] == ".nii.gz"


@pytest.mark.parametrize("compress", [False, True])
def test_the_same_call_again_does_what_is_left(prepared, out, compress):
    export(prepared, out, partial="ignore", compress=compress)
    files = sorted(p for p in out.rglob("*") if p.is_file())
    before = {p: p.stat().st_mtime_ns for p in files}
    files[2].unlink()
    export(prepared, out, partial="ignore", compress=compress)
    after = {p: p.stat().st_mtime_ns for p in files}
    assert {p for p in files if before[p] != after[p]} <= {files[2]}


def test_what_stands_there_is_not_written_over(prepared, out):
    theirs = out / "imagesTr" / "lits_1_0000.nii"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    _, problems = export(prepared, out)
    assert [w.case_id for w in problems] == ["lits/1"]
    assert theirs.read_bytes() == b"theirs"
    with pytest.raises(ExportError, match="another content"):
        export(prepared, out, where="dataset = 'btcv'")


def test_of_documents_that_changed_the_dataset_is_named(prepared, out):
    export(prepared, out)
    splits = (out / "splits_final.json").read_text()
    with pytest.raises(ExportError, match=r"dataset\.json"):
        export(prepared, out, where="dataset = 'btcv'")
    assert (out / "splits_final.json").read_text() == splits


def test_a_damaged_case_is_said_and_the_others_are_written(prepared, out):
    (prepared.parent / "cases/lits/2/label.nii").write_bytes(b"")
    result = CliRunner().invoke(app, ["export", "nnunet", str(prepared), "--out", str(out)])
    assert result.exit_code == 3
    assert "not exported: lits/2" in result.output
    document = json.loads((out / "dataset.json").read_text())
    assert document["numTraining"] == 4
    assert "lits_2" not in document[KEY]["merged"]


@pytest.mark.parametrize(
    ("names", "called"), [(("a_b/c", "a/b_c"), "a_b_c"), (("a_b/c", "a_b/C"), "a_b_C")]
)
def test_two_cases_of_one_name_are_refused(
    prepared, make_case, make_manifest, write_volumes, names, called
):
    folder = prepared.parent
    cases = [write_volumes(make_case(name), folder) for name in names]
    write_manifest(make_manifest(cases, folder=folder), prepared)
    with pytest.raises(ExportError, match=f"both be called '{called}'"):
        select_for_export(prepared)


def test_a_folder_that_nnunet_would_not_find_is_refused(prepared, tmp_path):
    with pytest.raises(ExportError, match="DatasetNNN_Name"):
        export(prepared, tmp_path / "mine")


def test_a_dry_run_writes_nothing(prepared, out):
    command = ["export", "nnunet", str(prepared), "--out", str(out), "--dry-run"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "5 training cases, 3 of them partly labelled; 1 test cases" in result.output
    assert not out.exists()


def test_splits_are_written_where_nnunet_reads_them(prepared, out, tmp_path):
    command = ["export", "nnunet", str(prepared), "--out", str(out)]
    environment = {"nnUNet_preprocessed": str(tmp_path / "preprocessed")}
    CliRunner().invoke(app, command, env=environment, catch_exceptions=False)
    copied = tmp_path / "preprocessed" / out.name / "splits_final.json"
    assert copied.read_text() == (out / "splits_final.json").read_text()


def test_a_label_value_that_is_no_class_is_that_cases_problem(prepared, out):
    path = prepared.parent / "cases/lits/1/label.nii"
    content = bytearray(path.read_bytes())
    content[-1] = 77
    path.write_bytes(content)
    _, problems = export(prepared, out, partial="ignore")
    assert [(w.case_id, "holds the values [77]" in w.problem) for w in problems] == [
        ("lits/1", True)
    ]


def exported(cases):
    from manifests.exports.selection import ExportedCase
    from manifests.table.flat_names import flat_name

    return [ExportedCase(c, flat_name(c.case_id), None, None) for c in cases]


@pytest.mark.slow
@pytest.mark.parametrize("partial", ["trainer", "ignore"])
def test_nnunet_itself_finds_no_fault(prepared, out, partial):
    integrity = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    export(prepared, out, partial=partial)
    integrity.verify_dataset_integrity(str(out), num_processes=1)


def test_a_released_manifest_of_no_facts_is_exported(prepared, out):
    manifest = read_manifest(prepared)
    write_manifest(replace(manifest, settings={}), prepared)
    export(prepared, out)
    assert json.loads((out / "marginalia.json").read_text())["datasets"] == {}
