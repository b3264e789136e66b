"""Plans: equal trainings are one run, budgets are equal, and what cannot be planned says why."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from manifests.ground.errors import TrainingError
from train.experiments.plans.budget import with_budget
from train.experiments.plans.catalogue import Catalogue
from train.experiments.plans.costs import batches
from train.experiments.plans.planned_run import plan_runs, run_key
from train.settings import resolve


def plan(request, *names, **changes):
    return plan_runs(replace(request, **changes), names)


def test_trainings_that_come_to_the_same_share_a_folder(request_):
    union, same, full = plan(request_, "union", "same", "F")
    assert union.folder == same.folder != full.folder
    # the very value of the preset, and where it is computed, change nothing
    overrides = (*request_.overrides, "batch_size=2", "device=cpu", "workers=1")
    assert plan(request_, "union", overrides=overrides)[0].folder == union.folder
    overrides = (*request_.overrides, "batch_size=4")
    assert plan(request_, "union", overrides=overrides)[0].folder != union.folder


def test_seeds_have_folders_of_their_own_and_come_one_after_the_other(request_):
    runs = plan(request_, "union", "F", seeds=(3, 1))
    assert [run.title for run in runs] == [
        *("union, seed 3", "F, seed 3", "union, seed 1", "F, seed 1"),
    ]
    assert [run.prepared.settings.seed for run in runs] == [3, 3, 1, 1]
    assert runs[0].folder.parent == runs[2].folder.parent
    assert runs[0].folder.name == "seed-3"


def test_a_key_does_not_change_from_release_to_release():
    """Else finished runs would be done again."""
    changed = {"exclusion_weight": 0.0, "stage_epochs": [15, 3]}
    assert run_key("tiny", changed, "cases") == "9b823bb054e3"
    assert run_key("tiny", {**changed, "device": "cuda", "seed": 1}, "cases") == "9b823bb054e3"
    assert run_key("tiny", changed, "other cases") != run_key("tiny", changed, "cases")


def test_what_cannot_be_planned_says_why_and_the_others_are_planned(request_):
    broken, union = plan(request_, "broken", "union")
    assert "none_such" in broken.problem
    assert broken.prepared is None
    assert union.prepared is not None


@pytest.mark.parametrize("budget", ["patches", "epochs"])
def test_a_dataset_that_is_not_there_is_named_and_the_others_are_planned(request_, budget):
    absent, union = plan(request_, "absent", "union", budget=budget)
    assert "datasets names P9" in absent.problem
    assert "expected some of full, livers, spleens" in absent.problem
    assert union.prepared is not None


def test_a_seed_among_the_settings_is_refused(request_):
    with pytest.raises(TrainingError, match="name the seeds with --seeds"):
        plan(request_, "union", overrides=(*request_.overrides, "seed=7"))
    with pytest.raises(ValidationError, match="training mine sets a seed"):
        Catalogue.model_validate({"trainings": {"mine": {"set": {"seed": 7}}}})


def test_all_trainings_learn_from_as_many_patches(request_):
    runs = plan(request_, "union", "F", "liver", "spleen", "single")
    counts = {run.training: batches(run.prepared) for run in runs}
    # 1 epoch of F and 1 of three datasets, two patches of each: 2 + 6 patches
    assert counts["union"] == counts["F"] == counts["liver"] == counts["spleen"] == 4
    epochs = {run.training: run.prepared.settings.stage_epochs for run in runs}
    assert epochs == {
        "union": (1, 1),
        "F": (1, 3),
        "liver": (0, 2),  # F tells it of the liver alone
        "spleen": (0, 4),
        "single": (1, 3),
    }


def test_a_budget_of_epochs_leaves_them_as_they_are(request_):
    runs = plan(request_, "union", "F", "spleen", budget="epochs")
    epochs = [run.prepared.settings.stage_epochs for run in runs]
    assert epochs == [(1, 1), (1, 1), (0, 2)]


def test_validations_are_as_many_as_in_the_union(manifest):
    cases = [case for case in manifest.cases() if case.split == "train"]
    full = [case for case in cases if case.dataset == "full"]
    settings = resolve("tiny", ["stage_epochs=15,5", "validation_every=10"])
    found = with_budget(settings, full, cases, "patches")
    assert (found.stage_epochs, found.validation_every) == ((15, 15), 15)


def test_a_training_is_told_less_and_tested_on_the_truth(request_):
    (run,) = plan(request_, "liver")
    told = {c.case_id: c.merged for c in run.prepared.trained_on.manifest.cases()}
    tested = {c.case_id: c.merged for c in run.prepared.tested_on.manifest.cases()}
    assert told["full/0"] == (0, 1, 0)
    assert told["full/5"] == tested["full/5"] == tested["full/0"] == (0, 1, 2)
    assert run.prepared.tested_on.path == request_.manifest_path != run.prepared.trained_on.path


@pytest.mark.parametrize("select_on", ["validation", "test"])
def test_checkpoints_are_chosen_on_validation_cases_unless_asked(request_, select_on):
    (run,) = plan(request_, "union", select_on=select_on)
    chosen = {case.case_id for case in run.prepared.plan.validation}
    expected = {
        "validation": {"full/4", "livers/2"},
        "test": {"full/5", "livers/9", "spleens/2"},
    }
    assert chosen == expected[select_on]
    splits = [c.split for c in run.prepared.tested_on.manifest.cases()]
    assert splits == [c.split for c in request_.manifest.cases()]
    other = plan(request_, "union")[0].folder
    assert (run.folder == other) == (select_on == "validation")
