"""Situations from the field, each with the outcome that the head of its script says is right.

The scripts lie beside the checkout, in `../shared/cases`; each makes its input in a folder. Those
that call the command line take about eight minutes together: `pytest tests/test_cases.py` runs
them, and `make test` leaves them out, since tests of each room hold what they found.
"""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from manifests.classes.label_space import load_label_space
from manifests.table.manifest import read_manifest
from marginalia import app
from train.model import Model, Normalisation
from train.prediction.predict import predict_files
from train.prediction.sliding_window import Predictor

CASES = Path(__file__).parents[1].parent / "shared" / "cases"
# Scripts that call the command line and judge what it did; they print RIGHT or WRONG.
JUDGING = sorted(p.stem for p in CASES.glob("rel_*.py"))
# Modules that scripts name as they were called when the scripts were written.
FORMER_NAMES = {
    "manifests.volume": "manifests.volumes.volume",
    "manifests.label_space": "manifests.classes.label_space",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases at {CASES}"),
]


@pytest.fixture
def run(tmp_path):
    """Run a program in a folder of its own; return what it printed."""

    def run(*command):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout + done.stderr

    return run


@pytest.fixture
def run_script(monkeypatch, tmp_path, capsys):
    """Run a script in this process, where modules have their former names; return its output."""

    def run_script(name, *arguments):
        for former, today in FORMER_NAMES.items():
            monkeypatch.setitem(sys.modules, former, __import__(today, fromlist=["*"]))
        monkeypatch.syspath_prepend(CASES)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(CASES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_script


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a command of marginalia in this process, in a folder of its own; return its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words]).output


@pytest.mark.field
@pytest.mark.parametrize("name", JUDGING)
def test_a_script_that_judges_finds_it_right(name, run, tmp_path):
    printed = run(sys.executable, CASES / f"{name}.py", tmp_path / "work")
    verdicts = [line.split()[0] for line in printed.splitlines() if line.split()]
    assert "RIGHT" in verdicts, printed
    assert "WRONG" not in verdicts, printed


def test_a_qform_with_qfac_0_is_read_as_itk_reads_it(run_script):
    lines = run_script("fault1_qfac0").splitlines()
    itk = [line.split("ITK ")[1] for line in lines if "ITK origin" in line]
    ours = [line.split("marginalia ")[1] for line in lines if "marginalia origin" in line]
    assert len(itk) == len(ours) == 2
    assert all(line.startswith(expected) for line, expected in zip(ours, itk, strict=True))
    assert "orientation_unstated" not in "".join(ours)


@pytest.mark.field
def test_mirror_images_of_one_distance_do_not_differ(run):
    printed = run("bash", CASES / "hd_noise.sh")
    assert " p 1 " in printed, printed


def test_the_ignore_label_of_nnunet_is_known_and_counts_nowhere(run, tmp_path):
    run(sys.executable, CASES / "nnunet_ignore_label.py", "made")
    run("marginalia", "recipe", "new", "made/sparse", "--name", "sparse", "--out", "sparse.toml")
    where = ["--raw", "made", "--out", "prepared", "--offline", "--spacing", "8", "8", "10"]
    printed = run("marginalia", "prepare", "sparse.toml", *where)
    assert "3 cases made" in printed, printed
    slice_voxels = 48 * 40
    for case in read_manifest(tmp_path / "prepared").cases():
        assert len(case.annotated) == 5
        assert (sum(case.voxels), case.ignored) == (4 * slice_voxels, 16 * slice_voxels)


def test_masks_that_differ_by_case_are_what_was_annotated_in_each(run, tmp_path):
    run(sys.executable, CASES / "masks_differ_by_case.py", "made")
    told = ["--name", "masks", "--out", "masks.toml", "--missing-mask", "not_annotated"]
    run("marginalia", "recipe", "new", "made/masks", *told)
    where = ["--raw", "made", "--out", "prepared", "--offline", "--spacing", "8", "8", "10"]
    printed = run("marginalia", "prepare", "masks.toml", *where)
    assert "4 cases made" in printed, printed
    every = ("liver", "spleen", "pancreas", "left_kidney", "right_kidney")
    lacks = {"s0001": "pancreas", "s0002": "spleen", "s0003": "liver"}
    found = {c.case_id: c.annotated for c in read_manifest(tmp_path / "prepared").cases()}
    assert found == {
        f"masks/{name}": tuple(organ for organ in every if organ != lacks.get(name))
        for name in ("s0000", "s0001", "s0002", "s0003")
    }


def test_a_dicom_seg_can_be_read_though_the_thickness_is_empty(run_script):
    pytest.importorskip("highdicom")
    printed = run_script("fault5_seg_thickness")
    assert printed.count("highdicom reads it: (4, 64, 64)") == 5, printed


class ByIntensity(torch.nn.Module):
    """Tells the organs of the made abdomen by their intensity, wherever they lie."""

    def forward(self, hu):
        means = torch.tensor([50.0, 110.0, 125.0, 92.0, 170.0, 1e4])[:, None, None, None]
        smooth = torch.nn.functional.avg_pool3d(hu, 3, 1, 1, count_include_pad=False)
        return -((smooth - means) ** 2) / 20


def predict(*scans, out):
    """Predict with a network that tells the organs by their intensity."""
    scale, grid = Normalisation(-1024.0, 3000.0, 0.0, 1.0), ((4.0, 4.0, 5.0), (40, 80, 96))
    predictor = Predictor(Model(ByIntensity(), load_label_space("abdomen5"), scale, *grid), "cpu")
    return list(predict_files(predictor, scans, out))


def test_predict_suspects_a_flipped_header_as_prepare_does(run, tmp_path):
    run(sys.executable, CASES / "predict_flipped_header.py", tmp_path / "scans")
    results = predict(tmp_path / "scans", out=tmp_path / "predicted")
    suspects = {
        r.output.name.split(".")[0]: [f.code for f in r.findings if f.code.endswith("_suspect")]
        for r in results
    }
    assert suspects == {
        "back_to_front": ["anteroposterior_suspect"],
        "upside_down": ["craniocaudal_suspect"],
        "left_to_right": ["laterality_suspect"],
    }


def test_the_visits_of_a_patient_stay_in_one_split(run, tmp_path):
    recipe = tmp_path / "visits.toml"
    run(sys.executable, CASES / "visits_of_one_patient.py", tmp_path)
    run("marginalia", "recipe", "new", tmp_path / "visits", "--name", "visits", "--out", recipe)
    text = recipe.read_text()
    recipe.write_text(text.replace("\n[layout]\n", "\n[layout]\nsubject = 'case_(\\d\\d)'\n"))
    how = ("--offline", "--spacing", "8", "8", "10", "--jobs", "1")
    printed = run("marginalia", "prepare", recipe, "--raw", tmp_path, "--out", tmp_path, *how)
    printed += run("marginalia", "split", tmp_path, "--test", "0.34", "--seed", "1")
    cases = list(read_manifest(tmp_path).cases())
    assert [c.subject_id for c in cases] == [f"visits/0{n}" for n in (1, 1, 2, 2, 3, 3)], printed
    splits = {(c.subject_id, c.split) for c in cases}
    assert len(splits) == 3
    assert {split for _, split in splits} == {"train", "test"}
    given = tmp_path / "given.csv"
    visits = [f"{c.case_id},{'test' if n % 2 else 'train'}" for n, c in enumerate(cases)]
    given.write_text("\n".join(["case_id,split", *visits]))
    printed = run("marginalia", "split", tmp_path, "--given", given)
    assert "parts cases of one patient" in printed
    assert "visits/01: visits/case_0100 in train, visits/case_0101 in test" in printed


def test_units_of_length_are_those_that_itk_takes(run_script):
    lines = run_script("fault2_units").splitlines()
    itk, ours = (
        [ast.literal_eval(line.split(word)[1]) for line in lines if word in line]
        for word in ("ITK ", "marginalia ")
    )
    assert len(itk) == 2
    np.testing.assert_allclose(ours, itk, rtol=1e-5)


def test_a_label_map_has_both_forms_of_its_scan(run_script, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: predict(Path("in"), out=Path("out")))
    printed = run_script("fault3_forms_of_output", "RUN")
    lines = re.findall(r"nibabel (\[.*\]) \| ITK (\[.*\]) codes of label map (\[.*\])", printed)
    nibabel, itk, codes = zip(*(map(ast.literal_eval, line) for line in lines), strict=True)
    assert [scan == label_map for scan, label_map in (*nibabel, *itk)] == [True] * 4, printed
    assert codes == ([2, 1], [0, 0])


@pytest.mark.field
def test_label_maps_are_scored_by_the_names_that_a_new_recipe_knows(run):
    printed = run("bash", CASES / "labels_of_dataset_json.sh")
    livers = [line.split() for line in printed.splitlines() if line.split()[:1] == ["liver"]]
    assert len(livers) == 3, printed
    assert all("1.000" in line and "0.00" in line for line in livers), printed
    assert not re.search("no label map|failed|counted|Error", printed), printed


def test_images_that_were_normalised_are_set_aside(run_script, call, tmp_path):
    run_script("normalised_intensities", tmp_path)
    where = ["--raw", ".", "--out", "prepared", "--offline", "--spacing", "4", "4", "5"]
    call("prepare", "case.toml", *where, "--jobs", "1")
    rejected = (tmp_path / "prepared" / "rejected.csv").read_text()
    for name in ("window_from_zero", "z_score", "window_about_zero"):
        assert re.search(rf"{name}.*not_hounsfield", rejected), rejected


def test_monochrome1_is_read_as_monochrome2_or_refused(run_script, tmp_path):
    run_script("monochrome1_ct", tmp_path)
    folders = tmp_path / "monochrome1", tmp_path / "monochrome2"
    one, two = predict(*folders, out=tmp_path / "predicted")
    assert not two.reason
    if not one.reason:
        found, expected = (sitk.GetArrayFromImage(sitk.ReadImage(r.output)) for r in (one, two))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["hashes", "sides"])
def test_cases_of_nnunet_may_have_any_name(run_script, call, tmp_path, name):
    run_script("nnunet_case_names", tmp_path)
    printed = call("recipe", "new", name, "--name", name, "--out", f"{name}.toml")
    assert f"{name}: 3 cases, nnunet" in printed, printed


def test_one_dicom_file_is_refused(run_script, tmp_path):
    run_script("single_dicom_file", tmp_path)
    names = ("mr_slice", "scout", "ct_slice")
    results = predict(*(tmp_path / name for name in names), out=tmp_path / "predicted")
    assert ["give the folder" in r.reason for r in results] == [True] * 3


def test_what_is_wrong_with_a_dicom_folder_is_told(run_script, tmp_path):
    run_script("dicom_messages", tmp_path)
    said = {
        "one_slice": "one slice",
        "only_scouts": "localizer",
        "no_positions": "ImagePositionPatient",
        "cut_off": "IM0011",
    }
    results = predict(*(tmp_path / name for name in said), out=tmp_path / "predicted")
    found = {r.scan.name: r.reason for r in results}
    assert {n for n, words in said.items() if words not in found[n]} == set(), found


def test_readings_of_one_case_are_told_and_the_one_that_is_taken(run_script, call, tmp_path):
    run_script("several_readings", tmp_path)
    printed = call("recipe", "new", "readings", "--value", "1=kidney", "--out", "readings.toml")
    assert "labels: {case}/aggregated_MAJ_seg.nii.gz" in printed
    for how in ("AND", "OR"):
        assert f"aggregated_{how}_seg.nii.gz" in printed, printed


def prepared_findings(run, tmp_path, name):
    """The findings of each case of a script's dataset."""
    run(sys.executable, CASES / f"{name}.py", tmp_path)
    printed = run(
        *("marginalia", "prepare", tmp_path / "case.toml", "--raw", tmp_path, "--offline"),
        *("--out", tmp_path / "prepared", "--spacing", 4, 4, 5),
    )
    assert "manifest:" in printed
    cases = read_manifest(tmp_path / "prepared").cases()
    return {case.case_id.partition("/")[2]: case.findings for case in cases}


def test_labels_that_do_not_fit_their_image_are_suspected(run, tmp_path):
    found = prepared_findings(run, tmp_path, "label_does_not_fit")
    assert found["fits"] == ()
    for name in ("upside_down", "on_padding", "of_another"):
        reasons = [f.reason for f in found[name] if f.code == "label_misplaced"]
        assert reasons, name
        assert all("% on air" in reason for reason in reasons)


def test_a_second_acquisition_on_the_first_is_found(run, tmp_path):
    (findings,) = prepared_findings(run, tmp_path, "second_phase_appended").values()
    (finding,) = [f for f in findings if f.code == "scan_repeated"]
    assert "shifted by 200 mm" in finding.reason
    assert "nothing is labelled from there on" in finding.reason
