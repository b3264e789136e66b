"""Availability and other casts: edits of a manifest with known answers."""

from dataclasses import replace

import pytest

from manifests.ground.errors import MarginaliaError, TrainingError
from manifests.table.manifest import Manifest
from train.experiments.plans.availability import apply_edits, keep_only, single_organ
from train.experiments.plans.catalogue import AnotherSplit, DividedDataset
from train.experiments.plans.modified_manifests import in_parts, manifest_name, with_another_split
from train.experiments.plans.planned_run import plan_runs
from train.experiments.slurm_script import run_commands


def merged_of(manifest):
    return {c.case_id: c.merged for c in manifest.cases()}


def test_other_labels_are_forgotten_in_training_and_validation(manifest):
    edits = keep_only(manifest, ["liver"], ["full", "livers"])
    merged = merged_of(apply_edits(manifest, edits))
    assert {merged[f"full/{n}"] for n in range(5)} == {(0, 1, 0)}
    assert merged["full/5"] == merged["livers/9"] == (0, 1, 2)  # test
    assert merged["spleens/0"] == (0, 0, 2)  # not asked
    assert keep_only(manifest, ["liver"], ["livers"]) == ()  # it labels nothing else


@pytest.mark.parametrize(("share", "count"), [((1, 4), 1), ((1, 2), 2), ((3, 4), 3), ((9, 9), 3)])
def test_some_cases_label_one_organ_in_turn_and_one_stays_whole(manifest, share, count):
    before = merged_of(manifest)
    after = merged_of(apply_edits(manifest, list(single_organ(manifest, share, ["full"]))))
    changed = {case_id: m for case_id, m in after.items() if m != before[case_id]}
    assert changed.keys() <= {f"full/{n}" for n in range(4)}
    kinds = list(changed.values())
    assert len(kinds) == count
    assert abs(kinds.count((0, 1, 0)) - kinds.count((0, 0, 2))) <= 1


def test_a_smaller_share_is_within_a_larger_one(manifest):
    def cases(share):
        after = merged_of(apply_edits(manifest, list(single_organ(manifest, share, ["full"]))))
        return {case_id for case_id, m in after.items() if m != merged_of(manifest)[case_id]}

    assert cases((1, 4)) < cases((1, 2)) < cases((3, 4))


def test_a_class_that_there_is_not_and_too_few_cases_are_explained(manifest):
    with pytest.raises(TrainingError, match=r"no class heart.*expected some of liver, spleen"):
        keep_only(manifest, ["heart"], ["full"])
    with pytest.raises(TrainingError, match="0 fully labelled training cases"):
        list(single_organ(manifest, (1, 2), ["livers"]))


def test_parts_divide_each_split_and_label_what_they_say(manifest, catalogue):
    parts = DividedDataset.model_validate(
        {
            "dataset": "F",
            "parts": [
                {"name": "one", "share": 2},
                {"name": "two", "share": 1, "merge": [["liver", "spleen"]]},
                {"name": "three", "share": 1, "drop": ["liver"]},
            ],
        }
    )
    cases = list(in_parts(manifest, parts, catalogue).cases())
    assert sorted(c.dataset for c in cases if c.split == "train") == ["one", "one", "three", "two"]
    assert len(cases) == 6
    merged = {c.dataset: c.merged for c in cases}
    assert merged["one"] == (0, 1, 2)
    assert merged["two"] == (0, 1, 1)
    assert merged["three"] == (0, 0, 2)


def test_parts_that_the_label_space_cannot_tell_are_refused(manifest, catalogue):
    part = {"name": "one", "share": 1, "drop": ["pancreas"]}
    with pytest.raises(TrainingError, match="'two' does not distinguish pancreas"):
        in_parts(
            manifest, DividedDataset.model_validate({"dataset": "F", "parts": [part]}), catalogue
        )
    with pytest.raises(MarginaliaError, match="no dataset 'nil'"):
        in_parts(
            manifest, DividedDataset.model_validate({"dataset": "nil", "parts": [part]}), catalogue
        )


def test_another_split_of_one_dataset_leaves_the_others(manifest, catalogue):
    found = set()
    for seed in range(4):
        other = with_another_split(manifest, AnotherSplit(dataset="F", seed=seed), catalogue)
        splits = {c.case_id: c.split for c in other.cases()}
        full = [s for case_id, s in splits.items() if case_id.startswith("full")]
        assert sorted(full) == ["test", *["train"] * 4, "validation"]
        rest = {c.case_id: c.split for c in manifest.cases() if c.dataset != "full"}
        assert rest.items() <= splits.items()
        found |= {case_id for case_id in splits if splits[case_id] == "test"} - rest.keys()
    assert len(found) > 1


def test_a_manifests_name_follows_from_what_it_says(manifest, catalogue):
    split = [AnotherSplit(dataset="F", seed=seed) for seed in (1, 1, 2)]
    names = [manifest_name(with_another_split(manifest, s, catalogue)) for s in split]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    "change", [{"image_sha256": "0" * 64}, {"foreground_hu_mean": 1.25}, {"image": "else.nii"}]
)
def test_a_case_that_was_prepared_anew_gives_a_manifest_another_name(manifest, change):
    """Else the file of that name, written before, would stay."""
    first, *rest = manifest.cases()
    cases = [replace(first, **change), *rest]
    anew = Manifest.of(cases, manifest.label_space, folder=manifest.folder)
    assert manifest_name(anew) != manifest_name(manifest)


def test_the_plain_commands_edit_train_and_evaluate(request_):
    (run,) = plan_runs(request_, ["liver"])
    edit, train, evaluate = run_commands(run, request_)
    assert edit.startswith(f"marginalia edit {request_.manifest_path} --out ")
    assert "--drop spleen --where" in edit
    assert f"train {run.prepared.trained_on.path} --out {run.folder} --preset tiny" in train
    assert '\'datasets=["full", "livers"]\'' in train
    assert "--set method=regular" in train
    assert evaluate == f"marginalia evaluate {run.folder} {request_.manifest_path}"
