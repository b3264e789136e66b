"""The commands predict and evaluate on a run that was really trained, for one epoch."""

import json

import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from manifests.grid import Grid
from manifests.manifest import read_manifest
from train.checkpoint import load_model
from train.commands import app
from train.loop import train
from train.scores import read_scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory, manifest_path, settings):
    """A run's folder; tests write into copies of their own only."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    short = settings.model_copy(update={"stage_epochs": (0, 1)})
    train(read_manifest(manifest_path), run, short)
    return run


@pytest.fixture
def scan(manifest_path, tmp_path):
    """A case's image, as someone else would store it."""
    image = sitk.ReadImage(next(manifest_path.parent.glob("cases/both/*/image.nii")))
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), path)
    return path


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_predict_writes_a_label_map_and_goes_on_where_it_stopped(trained, scan, tmp_path):
    out = tmp_path / "out"
    result = invoke("predict", trained, scan, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "written" in result.output
    assert "1 liver, 2 spleen" in result.output
    assert (
        Grid.of(sitk.ReadImage(out / "scan.nii.gz")).size_xyz
        == Grid.of(sitk.ReadImage(scan)).size_xyz
    )
    again = invoke("predict", trained, scan, "--out", out, "--device", "cpu")
    assert "skipped" in again.output


def test_predict_ends_with_code_3_if_a_scan_failed(trained, scan, tmp_path):
    missing = tmp_path / "[missing].nii"
    result = invoke("predict", trained, missing, scan, "--out", tmp_path / "out")
    assert result.exit_code == 3
    assert f"failed  {missing}" in result.output
    assert (tmp_path / "out" / "scan.nii.gz").exists()


def test_predict_takes_a_checkpoint_file(trained, scan, tmp_path):
    file = trained / "checkpoints" / "last.safetensors"
    result = invoke("predict", file, scan, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_evaluate_writes_scores_and_pictures(trained, manifest_path):
    result = invoke("evaluate", trained, manifest_path, "--split", "validation", "--overlays")
    assert result.exit_code == 0, result.output
    folder = trained / "evaluation" / "validation"
    scores = read_scores(folder)
    assert {(c.class_name, c.dataset) for c in scores.cells} == {
        ("liver", "both"),
        ("spleen", "both"),
        ("liver", "liver_only"),
    }
    assert "liver_only" in result.output
    pictures = sorted(p.name for p in (folder / "overlays").iterdir())
    assert pictures == ["both_2.png", "liver_only_6.png"]
    settings = json.loads((folder / "summary.json").read_text())["settings"]
    assert settings["prediction"]["patch_size_zyx"] == list(load_model(trained).patch_size_zyx)


def test_evaluate_ends_with_code_3_if_a_case_failed(trained, manifest_path, monkeypatch):
    import train.evaluate

    opened = train.evaluate.open_volume

    def broken(manifest, case):
        if case.dataset == "both":
            msg = "the disk is gone"
            raise OSError(msg)
        return opened(manifest, case)

    monkeypatch.setattr(train.evaluate, "open_volume", broken)
    result = invoke("evaluate", trained, manifest_path, "--split", "validation")
    assert result.exit_code == 3
    assert "the disk is gone" in result.output
    assert "1 of 2 cases failed" in result.output
