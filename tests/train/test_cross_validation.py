"""Folds from training to comparison, and ensembles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.ground.errors import CheckpointError, TrainingError
from manifests.table.manifest import Manifest, read_manifest, write_manifest
from tests.train.training.test_commands import QUICK
from train.checkpoints.ensembles import load_ensemble, split_runs
from train.checkpoints.restoration import load_model, load_run
from train.commands import app
from train.planning.plan import plan_training
from train.prediction.sliding_window import Predictor, predict_classes, probabilities
from train.prediction.stamp import Stamp
from train.scoring.runs import open_runs
from train.scoring.scores import read_scores


def marginalia(*arguments):
    result = CliRunner().invoke(root, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


root = typer.Typer()
root.callback()(lambda: None)
root.add_typer(app)


@pytest.fixture(scope="module")
def folded(manifest_path):
    """The prepared folder, with two folds and one case for the test."""
    manifest = read_manifest(manifest_path)
    ids = [case.case_id for case in manifest.cases()]
    given = {c: "test" if c == "liver_only/3" else "train" for c in ids}
    path = manifest_path.with_name("folded.parquet")
    write_manifest(assign_splits(manifest, SplitRequest(given=given, folds=2)), path)
    return path


@pytest.fixture(scope="module")
def run(folded, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "folds"
    marginalia("train", folded, "--out", run, "--all-folds", *QUICK)
    return run


def test_a_fold_is_validated_on_and_the_others_are_trained_on(folded, settings):
    manifest = read_manifest(folded)
    fold_of = {c.case_id: c.fold for c in manifest.cases()}
    for fold in (0, 1):
        plan = plan_training(manifest, settings.model_copy(update={"fold": fold}))
        assert {fold_of[c.case_id] for c in plan.validation} == {fold}
        assert {fold_of[c.case_id] for c in plan.training} == {1 - fold}
    with pytest.raises(TrainingError, match=r"fold 2 is asked for.*got 0, 1; .*split --folds"):
        plan_training(manifest, settings.model_copy(update={"fold": 2}))


def test_folds_that_are_not_dealt_cannot_be_trained_on(manifest_path, tmp_path):
    with pytest.raises(TrainingError, match="the manifest has no folds; deal them with"):
        marginalia("train", manifest_path, "--out", tmp_path, "--all-folds", *QUICK)


def test_every_fold_has_a_run_that_is_not_trained_twice(folded, run):
    assert [load_run(run / f"fold_{n}").header.settings.fold for n in (0, 1)] == [0, 1]
    again = marginalia("train", folded, "--out", run, "--all-folds", *QUICK)
    assert again.count("is finished") == 2


def test_each_case_is_scored_by_the_network_that_did_not_see_it(folded, run):
    marginalia("evaluate", run, folded, "--split", "validation", "--device", "cpu")
    folds = {c.case_id: c.fold for c in read_manifest(folded).cases() if c.fold is not None}
    whole = read_scores(run / "evaluation" / "validation")
    assert {s.case_id for s in whole.scores} == folds.keys()
    for n in (0, 1):
        out = run / f"fold_{n}" / "evaluation" / "validation"
        marginalia("evaluate", run / f"fold_{n}", folded, "--split", "validation")
        part = read_scores(out)
        assert {s.case_id for s in part.scores} == {c for c, f in folds.items() if f == n}
        assert set(part.scores) <= set(whole.scores)
    for file in ("scores.csv", "summary.json"):
        (run / "evaluation" / "validation" / file).unlink()
    (joined,) = open_runs([str(run)], split="validation")
    assert joined.name == "folds"
    assert set(joined.scores.scores) == set(whole.scores)
    assert joined.scores.settings["cases"] == whole.settings["cases"]
    single = f"one={run / 'fold_0'}"
    assert "folds" in marginalia("compare", run, single, "--split", "validation", "--worst", 0)


def test_a_test_split_is_scored_by_the_mean_of_all_folds(folded, run):
    marginalia("evaluate", run, folded, "--split", "test")
    prediction = read_scores(run / "evaluation" / "test").settings["prediction"]
    assert len(prediction["ensemble"]) == 1
    for n in (0, 1):
        marginalia("evaluate", run / f"fold_{n}", folded, "--split", "test")
    (run / "evaluation" / "test" / "scores.csv").unlink()
    with pytest.raises(TrainingError, match="common cases, and so are no parts of one run"):
        open_runs([str(run)], split="test")


def test_an_ensembles_probabilities_are_the_mean(run):
    models = [load_model(run / f"fold_{n}") for n in (0, 1)]
    models.append(replace(models[0], normalisation=replace(models[0].normalisation, mean_hu=9.0)))
    hu = np.random.default_rng(0).integers(-200, 400, (40, 21, 18)).astype(np.int16)
    each = [probabilities(Predictor(m, "cpu"), hu) for m in models]
    ensemble = Predictor(replace(models[0], others=tuple(models[1:])), "cpu")
    mean = torch.stack(each).mean(0)
    torch.testing.assert_close(probabilities(ensemble, hu), mean)
    half = probabilities(ensemble, hu, dtype=torch.float16)
    torch.testing.assert_close(half.float(), mean, atol=1e-3, rtol=1e-3)
    sure = (mean.topk(2, 0).values.diff(dim=0).abs() > 2e-3)[0].numpy()
    assert (predict_classes(ensemble, hu) == mean.argmax(0).numpy())[sure].all()


def test_predict_takes_several_runs_and_then_scans(folded, run, tmp_path):
    scan = folded.parent / next(Manifest.cases(read_manifest(folded))).image
    both = [run / "fold_0", run / "fold_1"]
    assert split_runs([*both, scan]) == (both, [scan])
    assert split_runs([run / "fold_0", folded.parent / "cases"])[1] == [folded.parent / "cases"]
    with pytest.raises(CheckpointError, match=f"give runs first, as in {run / 'fold_0'} {scan}"):
        split_runs([scan, run / "fold_0"])
    with pytest.raises(CheckpointError, match="holds a manifest, not a run: give the run first"):
        load_ensemble([folded.parent])
    marginalia("predict", *both, scan, "--out", tmp_path / "two")
    marginalia("predict", run, scan, "--out", tmp_path / "folder")
    files = [{p.name for p in (tmp_path / name).iterdir()} for name in ("two", "folder")]
    assert files[0] == files[1]  # and so the same networks


def test_other_networks_make_another_stamp(run):
    first, second = (load_model(run / f"fold_{n}") for n in (0, 1))
    stamps = {
        Stamp.of(model, overlap=0.5).text
        for model in (first, replace(first, others=(second,)), replace(second, others=(first,)))
    }
    assert len(stamps) == 3


def test_networks_that_do_not_fit_are_not_averaged(run, monkeypatch):
    models = [load_model(run / "fold_0")]
    models.append(replace(models[0], spacing_mm=(1.0, 1.0, 1.0), interpolation="cubic"))
    monkeypatch.setattr("train.checkpoints.ensembles.load_model", lambda *_, **__: models.pop(0))
    with pytest.raises(CheckpointError, match="the same spacing, interpolation"):
        load_ensemble([run / "fold_0", run / "fold_1"])
