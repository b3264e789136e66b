"""Training on completed labels: what a batch holds, what a run learns from, and what 0 means."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from manifests.classes.label_space import IGNORED
from manifests.ground.errors import TrainingError
from manifests.table.manifest import read_manifest, write_manifest
from train.checkpoints.checkpoint import NETWORK, checkpoint_path, load_checkpoint
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import open_case
from train.patches.sampler import plan_epoch
from train.planning.columns import read_cases
from train.planning.plan import plan_training
from train.scoring.evaluate import EvaluationRequest, evaluate_cases
from train.settings import resolve
from train.training.batches import batch_source, read_batches
from train.training.loop import train

TURNED = ["augmentation=nnunet", "augmentation.rotation=1,-30,30", "augmentation.mirror_zyx=1,1,0"]
SMALL = ["patch_size_zyx=16,16,16", "patches_per_dataset=4", "foreground_probability=0.5"]


def batches_of(path, *overrides, completed=True):
    manifest = read_cases(path)
    plan = plan_training(manifest, resolve("tiny", [*SMALL, *overrides]))
    cases = tuple(open_case(manifest, c, completed=completed) for c in plan.training)
    candidates = find_candidates(cases, manifest.folder, workers=1)
    drawn = plan_epoch(candidates, plan.settings, np.random.default_rng(0))
    return list(read_batches(batch_source(cases, plan, torch.device("cpu")), drawn))


@pytest.mark.parametrize("how", [["augmentation=none"], TURNED], ids=["as it is", "turned"])
@pytest.mark.parametrize("residence", ["device", "host", "disk"])
def test_both_labels_of_a_patch_are_changed_alike(completed, how, residence):
    options = [*how, f"residence={residence}"]
    plain = batches_of(completed, *options, completed=False)
    found = batches_of(completed, *options)
    seen = 0
    for batch, expected in zip(found, plain, strict=True):
        assert expected.completed is None
        assert batch.images.equal(expected.images)
        assert batch.target.equal(expected.target)
        partial = [case_id.startswith("liver_only") for case_id in batch.case_ids]
        assert (batch.completed is not None) == any(partial)
        if batch.completed is None:
            continue
        for n, is_partial in enumerate(partial):
            target = batch.completed.target[n]
            if not is_partial:
                assert (target == IGNORED).all()
                continue
            assert batch.completed.merged[n].tolist() == [0, 1, 2]
            sure = target != IGNORED
            assert torch.equal((target == 1)[sure], (batch.target[n] == 1)[sure])
            # the second organ is where its intensities are
            bright = batch.images[n, 0][target == 2]
            seen += len(bright)
            assert not len(bright) or bright.mean() > batch.images[n, 0][batch.target[n] == 1].max(
            ) or how is TURNED  # fmt: skip
    assert seen > 100


def tensors_of(run):
    return load_checkpoint(checkpoint_path(run, "last")).tensors


def test_a_weight_of_nothing_is_as_if_nothing_were_completed(completed, settings, tmp_path):
    """Bit for bit, and without the files."""
    nothing = settings.model_copy(update={"pseudo_weight": 0.0, "stage_epochs": (0, 1)})
    train(read_cases(completed.with_name("manifest.parquet")), tmp_path / "plain", nothing)
    manifest = read_cases(completed)
    train(manifest, tmp_path / "with", nothing.model_copy(update={"pseudo_weight": 0.5}))
    for path in completed.parent.glob("completed/*/cases/*/*/*/label.nii"):
        path.unlink()
    train(manifest, tmp_path / "without", nothing)
    plain, without, used = (tensors_of(tmp_path / n) for n in ("plain", "without", "with"))
    assert plain.keys() == without.keys()
    weights = [name for name in plain if name.startswith(NETWORK)]
    assert weights
    assert all(plain[name].equal(without[name]) for name in plain)
    assert not all(plain[name].equal(used[name]) for name in weights)


def test_a_run_learnt_from_what_its_teacher_learnt_from(completed, settings, predictor):
    teacher = predictor.model.learnt
    manifest = read_manifest(completed)
    # one training case of the teacher's is held out from the pupil
    moved = replace(manifest.case("both/0"), split="test")
    cases = [moved if c.case_id == moved.case_id else c for c in manifest.cases()]
    pupil = type(manifest).of(cases, manifest.label_space, folder=manifest.folder)
    plan = plan_training(pupil, settings)
    by_id = {c.case_id: c for c in plan.learnt.cases}
    assert by_id["both/0"].part == "train"
    assert by_id.keys() >= {c.case_id for c in teacher.cases}
    assert by_id["liver_only/3"].by_model == ("spleen",)
    assert by_id["liver_only/3"].annotated == ("liver",)
    assert any("3 training cases have labels that a model completed, with the weight 0.5: spleen 3" in r for r in plan.remarks)  # fmt: skip  # noqa: E501
    without = plan_training(pupil, settings.model_copy(update={"pseudo_weight": 0.0}))
    assert "both/0" not in {c.case_id for c in without.learnt.cases}
    assert plan.manifest_sha256 != without.manifest_sha256


def test_licences_of_the_teachers_cases_are_told(completed, settings):
    manifest = read_manifest(completed)
    # the teacher knew another licence of both/0, from which the pupil does not learn
    free = [replace(c, licence="CC-BY-4.0") for c in manifest.cases() if c.case_id != "both/0"]
    pupil = type(manifest).of(free, manifest.label_space, folder=manifest.folder)
    told = "learnt from cases that the licence cc-by* leaves out"
    asked = settings.model_copy(update={"licence": "cc-by*"})
    assert any(told in remark for remark in plan_training(pupil, asked).remarks)
    for others in ({"licence": None}, {"pseudo_weight": 0.0}):
        remarks = plan_training(pupil, asked.model_copy(update=others)).remarks
        assert not any("leaves out" in remark for remark in remarks)


def test_a_validation_case_that_the_teacher_knows_is_told(completed, settings):
    manifest = read_manifest(completed)
    swap = {"liver_only/3": "validation", "liver_only/6": "train"}
    cases = [replace(c, split=swap.get(c.case_id, c.split)) for c in manifest.cases()]
    plan = plan_training(type(manifest).of(cases, manifest.label_space, folder=manifest.folder), settings)  # fmt: skip  # noqa: E501
    (leak,) = [r for r in plan.remarks if "their Dice is too good" in r]
    assert leak.startswith("1 of 2 validation cases were training cases of the model")
    assert leak.endswith("liver_only/3")


def test_another_method_says_that_it_does_not_use_them(completed):
    plan = plan_training(read_cases(completed), resolve("tiny", [*SMALL, "method=leaf_dice"]))
    assert any("which are not used: method leaf_dice" in remark for remark in plan.remarks)


def test_a_teacher_that_is_not_known_is_refused(completed, settings):
    for path in completed.parent.glob("completed/*.learnt.json"):
        path.write_text("[]")
    with pytest.raises(
        TrainingError, match=r"(?s)what the network marginalia-.* --set pseudo_weight=0"
    ):
        plan_training(read_cases(completed), settings)
    plan_training(read_cases(completed), settings.model_copy(update={"pseudo_weight": 0.0}))


def test_a_completed_label_that_is_gone_or_wrong_is_told(completed, settings, tmp_path):
    manifest = read_manifest(completed)
    case = manifest.case("liver_only/4")
    path = manifest.path(case.completed)
    voxels = bytearray(path.read_bytes())
    voxels[-1] = 7
    path.write_bytes(voxels)
    with pytest.raises(TrainingError, match=r"liver_only/4: .*completed.* holds the value 7"):
        train(manifest, tmp_path / "a", settings.model_copy(update={"residence": "device"}))
    path.unlink()
    with pytest.raises(TrainingError, match="case liver_only/4: completed: expected a file"):
        train(manifest, tmp_path / "b", settings)


def test_a_path_out_of_the_folder_is_refused(completed, settings, tmp_path):
    manifest = read_manifest(completed)
    for n, path in enumerate(("../x.nii", "/x.nii")):
        cases = [replace(c, completed=c.completed and path) for c in manifest.cases()]
        wrong = tmp_path / "prepared" / f"wrong{n}.parquet"
        write_manifest(type(manifest).of(cases, manifest.label_space, folder=wrong.parent), wrong)
        with pytest.raises(TrainingError):
            train(read_cases(wrong), tmp_path / f"run{n}", settings)


def test_evaluation_reads_no_completed_label(completed, predictor):
    manifest = read_manifest(completed)
    for path in completed.parent.glob("completed/*/cases/*/*/*/label.nii"):
        path.unlink()
    results = list(evaluate_cases(predictor.model, manifest, EvaluationRequest(split="train")))
    assert not any(result.failure for result in results)
