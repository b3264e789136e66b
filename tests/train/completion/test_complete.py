"""Cases are completed by a network whose answers are known, and the manifest says so."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.changes.diff import diff
from manifests.changes.edits import edit
from manifests.classes.label_space import IGNORED
from manifests.exports.monai import write_datalist
from manifests.exports.selection import select_for_export
from manifests.ground.errors import ManifestError, TrainingError
from manifests.table.case import COMPLETION
from manifests.table.manifest import read_manifest, write_manifest
from manifests.table.validate import validate
from manifests.views.case_view import case_view
from tests.train.conftest import draw_case
from tests.train.printed import words
from train.commands import app
from train.completion.complete import complete_cases, plan_completion, write_completed
from train.learnt import Learnt
from train.planning.completed import SUFFIX
from train.planning.plan import plan_training
from train.prediction.scan import find_scans
from train.scoring.evaluate import EvaluationRequest, collect_scores, evaluate_cases

PARTIAL = ["liver_only/3", "liver_only/4", "liver_only/5"]


def voxels_of(path):
    return np.asarray(nib.load(path).dataobj).T


def test_a_class_that_the_annotator_left_out_is_found_where_it_is(completed):
    manifest = read_manifest(completed)
    for case in manifest.cases():
        if case.case_id not in PARTIAL:
            assert case.completed is None
            assert case.origin is None
            continue
        assert case.merged == (0, 1, 0)
        assert case.completed_merged == (0, 1, 2)
        assert case.origin == ("model", "annotated", "model")
        found = voxels_of(manifest.path(case.completed))
        truth = draw_case(np.random.default_rng(int(case.case_id[-1])))[1]
        sure = found != IGNORED
        assert (found[sure] == truth[sure]).mean() > 0.999
        assert sure.mean() > 0.95
        assert np.array_equal(found == 1, truth == 1)  # the annotator's, whatever the network says


def test_the_annotators_files_and_manifest_are_not_touched(completed, manifest_path):
    for path in manifest_path.parent.rglob("*.nii"):
        there = completed.parent / path.relative_to(manifest_path.parent)
        assert there.read_bytes() == path.read_bytes()
    source = completed.with_name("manifest.parquet")
    assert source.read_bytes() == manifest_path.read_bytes()


def test_the_manifest_is_sound_and_says_which_network(completed, predictor):
    assert validate(completed, hashes=True) == []
    manifest = read_manifest(completed)
    (name,) = manifest.settings["completions"]
    assert {c.completed_by for c in manifest.cases()} == {None, name}
    stamp = json.loads((completed.parent / "completed" / f"{name}.json").read_text())
    assert stamp["weights_sha256"] == manifest.settings["completions"][name]["weights_sha256"]
    learnt = (completed.parent / "completed" / f"{name}{SUFFIX}").read_bytes()
    assert Learnt.from_json(learnt) == predictor.model.learnt


def test_a_completed_label_is_no_scan(completed, tmp_path):
    scans = [path for path, _ in find_scans(completed.parent, tmp_path / "out")]
    assert len(scans) == 14
    assert list(completed.parent.glob("completed/*/cases/*/*/*/label.nii"))


def test_the_rest_of_the_house_takes_it(completed):
    found = diff(completed.with_name("manifest.parquet"), completed)
    assert found.changed_cases == dict.fromkeys(COMPLETION, 3)
    assert found.added == found.removed == ()
    manifest = read_manifest(completed)
    text = " ".join(words(case_view(manifest.case(PARTIAL[0]), manifest.label_space)))
    assert "not annotated: labelled by a model" in text
    assert "completed label completed/marginalia-" in text
    for path in completed.parent.glob("completed/*/cases/*/*/*/label.nii"):
        path.unlink()  # an export needs none of them
    selection = select_for_export(completed)
    assert len(selection.cases) == 7
    write_datalist(selection, completed.with_name("list.json"), None)
    assert "completed" not in completed.with_name("list.json").read_text()


def test_an_edit_forgets_what_a_model_completed(completed):
    """The completed label still holds the liver, which the edit drops."""
    one = f"case_id = '{PARTIAL[0]}'"
    edited = edit(read_manifest(completed), drop=["liver"], where=one, source=completed)
    assert all(getattr(edited.case(PARTIAL[0]), name) is None for name in COMPLETION)
    assert edited.case(PARTIAL[1]).completed is not None


def test_a_manifest_keeps_its_completed_labels_when_an_edited_one_is_completed(
    completed, predictor
):
    """Both name the same label files, in which the edited one sees no liver."""
    edited = edit(read_manifest(completed), drop=["liver"], where=None, source=completed)
    plan = plan_completion(predictor, edited, edited.case_ids())
    assert "completed" in {result.outcome for result in complete_cases(plan, predictor)}
    assert validate(completed, hashes=True) == []


def test_what_a_model_labelled_is_never_scored(completed, manifest, predictor):
    def scores(of):
        model = replace(predictor.model, learnt=Learnt())
        request = EvaluationRequest(split="train")
        return collect_scores(evaluate_cases(model, of, request), {}).scores

    expected = scores(manifest)
    assert scores(read_manifest(completed)) == expected
    assert {s.class_id for s in expected if s.case_id in PARTIAL} == {1}


def test_the_same_call_again_makes_nothing_twice(completed, folder, predictor):
    before = {p: p.stat().st_mtime_ns for p in (folder / "completed").rglob("*.nii")}
    assert len(before) == 3
    lost = next(iter(before))
    lost.unlink()
    manifest = read_manifest(folder / "manifest.parquet")
    plan = plan_completion(predictor, manifest, manifest.case_ids())
    results = list(complete_cases(plan, predictor))
    assert sorted(r.outcome for r in results) == ["completed", "skipped", "skipped"]
    after = {p: p.stat().st_mtime_ns for p in (folder / "completed").rglob("*.nii")}
    assert after.keys() == before.keys()
    assert all(after[p] == before[p] for p in before if p != lost)
    write_completed(plan, results, folder / "manifest.parquet", folder / "again.parquet")
    assert not diff(completed, folder / "again.parquet")


def test_a_damaged_case_does_not_stop_the_others(folder, predictor):
    (folder / "cases" / PARTIAL[1] / "image.nii").write_bytes(b"")
    manifest = read_manifest(folder / "manifest.parquet")
    plan = plan_completion(predictor, manifest, manifest.case_ids())
    results = {r.case.case_id: r for r in complete_cases(plan, predictor)}
    assert [results[c].outcome for c in PARTIAL] == ["completed", "failed", "completed"]
    assert PARTIAL[1] in results[PARTIAL[1]].reason
    out = folder / "completed.parquet"
    write_completed(plan, list(results.values()), folder / "manifest.parquet", out)
    assert read_manifest(out).case(PARTIAL[1]).completed is None


def test_a_network_that_is_never_sure_completes_nothing(folder, predictor):
    manifest = read_manifest(folder / "manifest.parquet")
    predictor.model.network.means.data.zero_()  # all classes are equally probable
    plan = plan_completion(predictor, manifest, manifest.case_ids())
    assert {r.outcome for r in complete_cases(plan, predictor)} == {"unchanged"}


def test_a_class_that_the_network_did_not_learn_is_not_taken(predictor, manifest):
    silent = Learnt.of(manifest, {"train": [manifest.case(PARTIAL[0])]})
    model = replace(predictor.model, learnt=silent)
    with pytest.raises(TrainingError, match=r"7 chosen cases, 2 are held out .* learnt \(liver\)"):
        plan_completion(replace(predictor, model=model), manifest, manifest.case_ids())


def test_test_cases_stay_as_they_are_and_a_network_that_knows_them_is_told(folder, predictor):
    manifest = read_manifest(folder / "manifest.parquet")
    splits = {PARTIAL[0]: "test"}
    cases = [replace(c, split=splits.get(c.case_id, c.split)) for c in manifest.cases()]
    moved = type(manifest).of(cases, manifest.label_space, folder=folder)
    plan = plan_completion(predictor, moved, moved.case_ids())
    assert [c.case_id for c in plan.cases] == PARTIAL[1:]
    assert plan.gains() == {"liver": 0, "spleen": 2}
    assert "3 chosen cases are held out" in plan.remarks[0]
    assert "trained on 1 of 1 test cases (liver_only/3)" in plan.remarks[-1]


def test_a_completion_that_is_not_one_is_found(completed):
    manifest = read_manifest(completed)
    wrong = {
        "completed_merged": (0, 0, 2),
        "origin": ("none", "annotated", "annotated"),
        "completed_sha256": None,
    }
    for n, (column, value) in enumerate(wrong.items()):
        cases = [replace(c, **{column: value}) if c.completed else c for c in manifest.cases()]
        path = completed.with_name(f"wrong{n}.parquet")
        write_manifest(type(manifest).of(cases, manifest.label_space, folder=path.parent), path)
        columns = {p.column for p in validate(path)}
        assert columns == {"completed" if value is None else column}


def test_a_manifest_above_leads_to_the_same_files(completed, settings, tmp_path):
    manifest = read_manifest(completed)
    write_manifest(manifest, tmp_path / "above.parquet")
    above = tmp_path / "above.parquet"
    assert validate(above, hashes=True) == []
    assert diff(completed, above).changed == ()
    plans = [plan_training(m, settings) for m in (manifest, read_manifest(above))]
    assert plans[0].learnt == plans[1].learnt
    assert plans[0].manifest_sha256 == plans[1].manifest_sha256


@pytest.mark.parametrize("name", ["labels.csv", "below/completed.parquet"])
def test_a_file_that_cannot_be_the_manifest_is_refused_before_any_work(manifest_path, name):
    words = ["complete", manifest_path, "--from", "nowhere", "--out", manifest_path.parent / name]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(result.exception, ManifestError)
