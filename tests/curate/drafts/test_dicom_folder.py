"""A new recipe for patients in DICOM: cases, names with their counts, and a run of it."""

import numpy as np
import pytest
from typer.testing import CliRunner

import curate.commands
from curate.recipes.schema import load_recipe
from tests.curate.defects import write_nifti
from tests.curate.dicom_files import ct_series, segment, write_rtstruct, write_seg
from tests.curate.dicom_labels.test_segmentation import LIVER, SPLEEN, box, ct, masks, prepared
from tests.curate.dicom_labels.test_structure_set import drawn

pytestmark = pytest.mark.usefixtures("_in_this_process")


def run(*words):
    result = CliRunner(env={"COLUMNS": "300"}).invoke(curate.commands.app, list(map(str, words)))
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def test_names_are_listed_with_their_counts_and_the_recipe_works(tmp_path):
    """Each patient has a scan without a label, too."""
    for n in range(1, 4):
        study = tmp_path / "sent" / f"P-0{n}" / f"study{n}"
        written = ct_series(study / "CT_1", ct(n))
        ct_series(study / "CT_2", ct(10 + n))
        segments = [segment(1, "Liver" if n < 3 else "LIVER")]
        segments += [segment(2, "Spleen (raw)", "spleen"), segment(3, "Thing 1.5")][: n - 1]
        boxes = [box(LIVER), box(SPLEEN), box(np.s_[8:9, 1:3, 1:3])][:n]
        write_seg(study / "SEG_3" / "1.dcm", written, masks(*boxes), segments)
    (tmp_path / "sent" / "notes.txt").write_text("")
    out = tmp_path / "sent.toml"
    printed = run(
        "recipe", "new", tmp_path / "sent", "--out", out, "--missing-mask", "not_annotated"
    )
    assert "3 cases, dicom" in printed
    assert "Liver in 3" in printed
    assert r"Spleen \(raw\) in 2" in printed
    assert "1 files (1 .txt)" in printed
    text = out.read_text()
    assert 'images = ["{case}"]' in text
    assert "[names]" in text
    assert '\'Liver\' = ["liver", "liver_tumour"] # in 3 of 3 cases, 1.3 mL' in text
    assert "# 'Thing 1\\.5' = [\"thing_1\"]" in text
    printed = run("recipe", "check", out, "--data", tmp_path / "sent")
    assert "3 cases with image and label" in printed
    assert load_recipe(out).names


def test_a_patient_with_two_labelled_scans_is_two_cases(tmp_path):
    for patient, studies in (("a", 2), ("b", 1)):
        for n in range(studies):
            folder = tmp_path / "sent" / patient / f"{patient}{n}"
            written = ct_series(folder / "ct", ct(n))
            write_rtstruct(folder / "rt.dcm", written, {"liver": drawn([3, 4])})
    out = tmp_path / "sent.toml"
    printed = run("recipe", "new", tmp_path / "sent", "--out", out)
    assert "3 cases, dicom" in printed
    assert load_recipe(out).layout.labels == ("*/{case}",)


def test_labels_without_a_folder_of_their_own_are_refused(tmp_path):
    for n in range(2):
        written = ct_series(tmp_path / "sent", ct(n), names=f"{n}-{{}}.dcm")
        write_rtstruct(tmp_path / "sent" / f"{n}.dcm", written, {"liver": drawn([3, 4])})
    result = CliRunner().invoke(curate.commands.app, ["recipe", "new", str(tmp_path / "sent")])
    assert "a folder for each patient or study" in str(result.exception)


def test_masks_that_are_folders_of_slices(tmp_path):
    """As 3D-IRCADb has them: files without an ending, one series for each structure, value 255."""
    root = tmp_path / "ircad"
    for n in (1, 2):
        patient = root / f"3Dircadb1.{n}"
        ct_series(patient / "PATIENT_DICOM", ct(n), names="image_{}")
        drawn_masks = {"liver": box(LIVER), "leftkidney": box(SPLEEN), "bone": box(LIVER, SPLEEN)}
        for name, mask in drawn_masks.items():
            if (n, name) != (2, "leftkidney"):
                voxels = 255 * mask.astype("i2")
                ct_series(patient / "MASKS_DICOM" / name, voxels, names="image_{}")
    out = tmp_path / "ircad.toml"
    words = ["--value", "leftkidney=left kidney", "--missing-mask", "not_annotated"]
    printed = run("recipe", "new", root, "--out", out, *words)
    assert "2 cases, masks" in printed
    assert "no file was passed over" in printed
    recipe = load_recipe(out)
    assert recipe.layout.images == ("{case}/PATIENT_DICOM",)
    assert recipe.layout.labels == ("{case}/MASKS_DICOM",)
    assert recipe.masks["leftkidney"] == ("left_kidney", "left_kidney_tumour")
    _, report = prepared(tmp_path, recipe)
    cases = {case.case_id[-1:]: case for case in report.manifest.cases()}
    assert cases["1"].annotated == ("liver", "left_kidney")
    assert cases["2"].annotated == ("liver",)
    space = (1.5 * 2 * 3) / 1000
    assert cases["1"].volume_ml[1] == pytest.approx(box(LIVER).sum() * space, rel=0.2)


def test_a_dicom_label_beside_pairs_of_files_is_passed_over(tmp_path):
    (tmp_path / "sent").mkdir()
    for name in ("p1_ct", "p1_label", "p2_ct", "p2_label"):
        voxels = ct(len(name)) if name.endswith("ct") else box(LIVER).astype("u1")
        write_nifti(tmp_path / "sent" / f"{name}.nii.gz", voxels)
    written = ct_series(tmp_path / "elsewhere", ct())
    write_seg(tmp_path / "sent" / "old" / "seg.dcm", written, masks(box(LIVER)), [segment(1, "a")])
    out = tmp_path / "sent.toml"
    printed = run("recipe", "new", tmp_path / "sent", "--out", out, "--value", "1=liver")
    assert "2 cases, pairs" in printed
    assert "1 files (1 .dcm): old/seg.dcm" in printed
