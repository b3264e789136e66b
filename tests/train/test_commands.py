"""The commands predict, evaluate and compare on a run that was really trained, for one epoch."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from manifests.ground.errors import TrainingError
from manifests.table.manifest import read_manifest
from manifests.volumes.grid import Grid
from train.checkpoints.restoration import load_model
from train.checkpoints.run_settings import manifest_of
from train.commands import app
from train.scoring.scores import read_scores
from train.training.loop import train
from train.training.start import Start


@pytest.fixture(scope="module")
def trained(tmp_path_factory, manifest_path, settings):
    """A run's folder; tests write into copies of their own only."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    short = settings.model_copy(update={"stage_epochs": (0, 1)})
    train(read_manifest(manifest_path), run, short, start=Start(manifest=manifest_path))
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


def test_predict_lists_what_it_would_do(trained, scan, tmp_path):
    out = tmp_path / "out"
    result = invoke("predict", trained, scan.parent, "--out", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"{scan} -> {out / 'scan.nii.gz'}" in result.output
    assert not out.exists()


def test_predict_takes_mirror_images_only_as_trained_unless_told_to(trained, scan, tmp_path):
    asked = invoke("predict", trained, scan, "--out", tmp_path / "out", "--mirror", "trained")
    assert load_model(trained).mirrored_axes == ()
    assert asked.exit_code != 0
    told = invoke("predict", trained, scan, "--out", tmp_path / "told", "--mirror", "in-plane")
    assert told.exit_code == 0, told.output
    assert "written" in told.output


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


def test_predict_offers_no_label_of_a_prepared_case(trained, manifest_path, tmp_path):
    shutil.copytree(manifest_path.parent / "cases" / "both", tmp_path / "cases" / "both")
    for folder in (tmp_path / "cases" / "both").iterdir():
        (folder / "case.json").touch()
    listed = invoke("predict", trained, tmp_path / "cases", "--out", tmp_path / "o", "--dry-run")
    assert listed.output.count(" -> ") == 3
    assert "label.nii" not in listed.output


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
    assert settings["manifest"] == str(manifest_path.resolve())
    kept = sitk.GetArrayFromImage(sitk.ReadImage(folder / scores.predictions["both/2"]))
    assert kept.shape == tuple(reversed(read_manifest(manifest_path).case("both/2").size))


def test_evaluate_ends_with_code_3_if_a_case_failed(trained, manifest_path, monkeypatch):
    import train.scoring.evaluate

    opened = train.scoring.evaluate.open_case

    def broken(manifest, case):
        if case.dataset == "both":
            msg = "the disk is gone"
            raise OSError(msg)
        return opened(manifest, case)

    monkeypatch.setattr(train.scoring.evaluate, "open_case", broken)
    result = invoke("evaluate", trained, manifest_path, "--split", "validation")
    assert result.exit_code == 3
    assert "the disk is gone" in result.output
    assert "1 of 2 cases failed" in result.output


# --- label maps of other programs -------------------------------------------------------------

CASES = ("both/2", "liver_only/6")  # the validation split


def write_label_maps(folder, manifest_path, *, shift=0, factor=1):
    """The truth, moved along x, as another program would name and number it."""
    folder.mkdir()
    manifest = read_manifest(manifest_path)
    for case_id in CASES:
        image = sitk.ReadImage(manifest.path(manifest.case(case_id).label))
        moved = np.roll(sitk.GetArrayFromImage(image), shift, axis=2) * factor
        moved = sitk.GetImageFromArray(moved.astype(np.uint8))
        moved.CopyInformation(image)
        name = f"{case_id.replace('/', '_')}.nii.gz"
        sitk.WriteImage(sitk.DICOMOrient(moved, "RAS"), folder / name)
    return folder


def test_evaluate_scores_a_folder_of_label_maps(tmp_path, manifest_path):
    truth = write_label_maps(tmp_path / "nnunet", manifest_path, factor=10)
    labels = tmp_path / "dataset.json"
    labels.write_text('{"labels": {"background": 0, "liver": 10, "spleen": 20, "aorta": 30}}')
    options = ["--predictions", truth, "--labels", labels, "--split", "validation", "--overlays"]
    result = invoke("evaluate", manifest_path, *options, "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert "background, being no class here, or several: aorta" in result.output
    scores = read_scores(truth / "evaluation" / "validation")
    assert [(s.case_id, s.class_name, s.dice, s.hausdorff_mm) for s in scores.scores] == [
        ("both/2", "liver", 1.0, 0.0),
        ("both/2", "spleen", 1.0, 0.0),
        ("liver_only/6", "liver", 1.0, 0.0),
    ]
    pictures = (truth / "evaluation" / "validation" / "overlays").iterdir()
    assert sorted(p.name for p in pictures) == ["both_2.png", "liver_only_6.png"]


def test_public_models_are_scored_by_name_on_what_each_case_labels(tmp_path, manifest_path):
    """A spleen that nobody labelled, which a model finds, is no error of it."""
    model = write_label_maps(tmp_path / "model", manifest_path)
    values = {"totalsegmentator": (0, 5, 1, 2), "vista3d": (0, 1, 3, 5)}  # the last is a kidney
    for name, own in values.items():
        (tmp_path / name).mkdir()
        for path in model.iterdir():
            image = sitk.ReadImage(path)
            found = sitk.GetArrayFromImage(image)
            found[:, :3] = np.maximum(found[:, :3], 3)
            if path.name.startswith("liver_only"):
                found[-3:] = np.where(found[-3:], found[-3:], 2)
            mask = sitk.GetImageFromArray(np.array(own, np.uint8)[found])
            mask.CopyInformation(image)
            sitk.WriteImage(mask, tmp_path / name / path.name)
        options = ["--predictions", tmp_path / name, "--labels", name, "--split", "validation"]
        result = invoke("evaluate", manifest_path, *options)
        assert result.exit_code == 0, result.output
        assert "more" in result.output
    folders = [tmp_path / name / "evaluation" / "validation" for name in values]
    first, second = (read_scores(folder).scores for folder in folders)
    assert first == second
    assert [(s.case_id, s.class_name) for s in first] == [
        ("both/2", "liver"),
        ("both/2", "spleen"),
        ("liver_only/6", "liver"),
    ]
    assert [s.dice for s in first] == [1.0, 1.0, 1.0]
    result = invoke("compare", *(tmp_path / name for name in values), "--split", "validation")
    assert result.exit_code == 0, result.output
    assert "totalsegmentator" in result.output


def test_a_class_that_no_value_means_is_not_scored(tmp_path, manifest_path):
    maps = write_label_maps(tmp_path / "maps", manifest_path)
    labels = tmp_path / "labels.toml"
    labels.write_text("spleen = 2\nbackground = [0, 1]\n")
    options = ["--predictions", maps, "--labels", labels, "--split", "validation"]
    result = invoke("evaluate", manifest_path, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "not scored, since no value means them: liver" in result.output
    assert [s.class_name for s in read_scores(tmp_path / "out").scores] == ["spleen"]


def test_what_cannot_be_scored_is_told_and_the_rest_is_scored(tmp_path, manifest_path):
    maps = write_label_maps(tmp_path / "maps", manifest_path)
    (maps / "both_2.nii.gz").write_bytes(b"no image")
    shutil.copy(maps / "liver_only_6.nii.gz", maps / "someone_else.nii.gz")
    result = invoke("evaluate", manifest_path, "--predictions", maps, "--split", "validation")
    assert result.exit_code == 3
    assert "failed  both/2" in result.output
    assert "1 label maps of no case of the manifest" in result.output
    assert "1 of 2 cases failed" in result.output
    (maps / "both_2.nii.gz").unlink()
    result = invoke("evaluate", manifest_path, "--predictions", maps, "--split", "validation")
    assert result.exit_code == 3
    assert "1 of 2 cases have no label map, and fail: both/2; of both/2: no" in result.output
    assert "expected both/2 or both_2" in result.output
    assert "failed  both/2" not in result.output
    assert "1 of 2 cases failed" in result.output
    assert len(read_scores(maps / "evaluation" / "validation").scores) == 1


def test_a_run_is_evaluated_on_its_own_manifest(trained, manifest_path, tmp_path):
    where = ("--where", "dataset = 'both'", "--split", "validation")
    result = invoke("evaluate", trained, *where)
    assert result.exit_code == 0, result.output
    (folder,) = (trained / "evaluation").glob("validation-*")
    assert {score.dataset for score in read_scores(folder).scores} == {"both"}
    nobody = invoke("evaluate", trained, manifest_path, "--where", "dataset = 'nobody'")
    assert "no case of" in str(nobody.exception)
    (tmp_path / "settings.json").write_text('{"manifest": "/nowhere/manifest.parquet"}')
    with pytest.raises(TrainingError, match=r"learnt from /nowhere/manifest.parquet, which is no "):
        manifest_of(tmp_path)
    with pytest.raises(TrainingError, match=r"does not say which manifest .* evaluate .* MANIFEST"):
        manifest_of(tmp_path / "none")


@pytest.mark.parametrize("words", [["a", "b", "c"], ["a", "b", "--predictions", "c"]])
def test_evaluate_says_which_words_it_expects(words):
    result = invoke("evaluate", *words)
    assert result.exit_code == 2
    assert "--predictions DIR" in result.output


# --- runs side by side ------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path, manifest_path):
    """Two programs, of which one is a voxel off."""
    runs = []
    for name, shift in (("off", 1), ("right", 0)):
        runs.append(write_label_maps(tmp_path / name, manifest_path, shift=shift))
        options = ["--predictions", runs[-1], "--split", "validation"]
        assert invoke("evaluate", manifest_path, *options).exit_code == 0
    return runs


def test_compare_writes_tables_and_pictures_of_the_worst(two_runs, tmp_path):
    out = tmp_path / "comparison"
    result = invoke("compare", *two_runs, "--split", "validation", "--out", out, "--worst", 2)
    assert result.exit_code == 0, result.output
    assert "Dice by class and dataset" in result.output
    assert "HD / mm by class and dataset" in result.output
    frame = pd.read_csv(out / "comparison.csv")
    row = frame[(frame["metric"] == "hausdorff_mm") & (frame["dataset"] == "both")]
    assert row[["run", "mean"]].to_numpy().tolist() == [
        ["off", 4.0],
        ["right", 0.0],
        ["off", 4.0],
        ["right", 0.0],
    ]
    assert set(frame["metric"]) == {"dice", "iou", "hausdorff_mm", "hd95_mm", "assd_mm", "nsd"}
    text = (out / "comparison.md").read_text()
    assert "| **1.000** |" in text
    settings = json.loads((out / "comparison.json").read_text())
    assert settings["runs"]["off"]["stamp"]
    worst = pd.read_csv(out / "worst.csv")
    assert worst["rank"].tolist() == [1, 1, 2, 2]
    # the spleen is smaller than the liver, and so loses more by a voxel
    assert worst["class"].tolist()[:2] == ["spleen", "spleen"]
    assert len(list((out / "overlays").iterdir())) == 2


def test_compare_takes_names_metrics_and_folders_of_scores(two_runs):
    scores = two_runs[0] / "evaluation" / "validation"
    words = [f"first={scores}", f"second={two_runs[1]}", "--split", "validation"]
    result = invoke("compare", *words, "--metric", "nsd", "--against", "second")
    assert result.exit_code == 0, result.output
    assert "NSD by class and dataset" in result.output
    assert "Dice by class" not in result.output
    assert "against second" in " ".join(result.output.split())


def test_compare_draws_what_is_still_there(two_runs, tmp_path):
    shutil.rmtree(two_runs[0] / "evaluation" / "validation" / "overlays", ignore_errors=True)
    for path in two_runs[0].glob("*.nii.gz"):
        path.unlink()
    out = tmp_path / "out"
    for path in two_runs[1].glob("both*.nii.gz"):
        path.unlink()
    result = invoke("compare", *two_runs, "--split", "validation", "--out", out)
    assert result.exit_code == 0, result.output
    assert "no picture  both/2: no run has kept its label map" in result.output
    assert [p.name for p in (out / "overlays").iterdir()] == ["liver_only_6_liver.png"]


def test_compare_refuses_what_it_cannot_tell_apart_or_find(two_runs):
    off, right = two_runs
    for words, message in (
        ((f"a={off}", f"a={right}"), "two runs are called 'a'"),
        ((off, f"{right}s"), f"no run at {right}s; did you mean '{right.name}'"),
        ((off, off.parent / "none"), "expected the folder of a run, or of scores"),
        ((off, off.parent), "no scores"),
    ):
        result = invoke("compare", *words, "--split", "validation")
        assert result.exit_code != 0
        assert message in str(result.exception)
    assert invoke("compare", off, right, "--metric", "accuracy").exit_code == 2
