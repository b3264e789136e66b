"""Plan: which cases, which scale of intensity, and what cannot be trained on."""

from dataclasses import replace

import numpy as np
import pytest

from manifests.classes.merged import is_full
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.planning.plan import annotated_counts, normalisation_of, plan_training
from train.settings import resolve


def edited(manifest, change):
    cases = [change(c) for c in manifest.cases()]
    return Manifest.of(cases, manifest.label_space, folder=manifest.folder)


def test_the_first_stage_has_the_fully_labelled_cases_only(manifest, settings):
    plan = plan_training(manifest, settings)
    assert {c.dataset for c in plan.cases(1)} == {"both"}
    assert all(is_full(c.merged) for c in plan.cases(1))
    assert plan.cases(2) == plan.training
    assert len(plan.training) == 5
    assert len(plan.validation) == 2
    assert plan.spacing_mm == (4.0, 4.0, 4.0)
    assert plan.remarks == ()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({}, "linear"),
        ({"prepare": {}}, "linear"),
        ({"prepare": {"interpolation": "cubic"}}, "cubic"),
    ],
)
def test_the_plan_knows_how_the_images_were_resampled(manifest, settings, head, expected):
    plan = plan_training(replace(manifest, settings=head), settings)
    assert plan.interpolation == expected


def test_an_unknown_interpolation_is_refused(manifest, settings):
    odd = replace(manifest, settings={"prepare": {"interpolation": ["sinc"]}})
    with pytest.raises(TrainingError, match=r"resampled by \['sinc'\].*one of linear, cubic"):
        plan_training(odd, settings)


def test_a_case_whose_labels_were_merged_is_fully_labelled_no_more(manifest, settings):
    dropped = edited(manifest, lambda c: replace(c, merged=(0, 1, 0)))
    with pytest.raises(TrainingError, match=r"none of 5 .*--set stage_epochs=0,4"):
        plan_training(dropped, settings)
    plan = plan_training(dropped, resolve("tiny", ["stage_epochs=0,4"]))
    assert plan.remarks == ("no training case annotates spleen: the network will not learn it",)


def test_exclusion_alone_needs_a_fully_labelled_case(manifest):
    alone = ["stage_epochs=0,4", "marginal_weight=0"]
    assert plan_training(manifest, resolve("tiny", alone)).training
    with pytest.raises(TrainingError, match="exclusion alone teaches no class"):
        plan_training(manifest, resolve("tiny", [*alone, "datasets=liver_only"]))


def test_datasets_restrict_training_and_validation(manifest):
    plan = plan_training(manifest, resolve("tiny", ["datasets=both"]))
    assert {c.dataset for c in (*plan.training, *plan.validation)} == {"both"}
    with pytest.raises(TrainingError, match=r"names none, .*expected some of both, liver_only"):
        plan_training(manifest, resolve("tiny", ["datasets=both,none"]))


def test_without_training_cases_the_splits_are_told(manifest, settings):
    nothing = edited(manifest, lambda c: replace(c, split=None if c.split == "train" else c.split))
    with pytest.raises(TrainingError, match=r"got 5 unassigned, 2 validation; .*marginalia split"):
        plan_training(nothing, settings)


def test_a_case_that_tells_no_class_apart_is_set_aside(manifest, settings):
    def forget(case):
        return replace(case, merged=(0, 0, 0)) if case.case_id == "liver_only/4" else case

    plan = plan_training(edited(manifest, forget), settings)
    assert len(plan.training) == 4
    assert plan.remarks == (
        "1 training cases distinguish no class and are set aside: ['liver_only/4']",
    )


def test_with_balanced_classes_a_dataset_that_merges_them_all_is_told(manifest):
    def merge(dataset):
        return lambda c: replace(c, merged=(0, 1, 1)) if c.dataset == dataset else c

    by_class = ["balance=class", "stage_epochs=0,4"]
    merged = edited(manifest, merge("liver_only"))
    assert plan_training(merged, resolve("tiny", by_class)).remarks == (
        "balance is class, so that no patch is drawn from liver_only, whose training cases merge "
        "each class with another",
    )
    assert not plan_training(merged, resolve("tiny", by_class[1:])).remarks
    with pytest.raises(TrainingError, match=r"none of 3 .*use --set balance=dataset"):
        plan_training(merged, resolve("tiny", [*by_class, "datasets=liver_only"]))


def test_a_dataset_without_a_labelled_voxel_is_told_before_anything_is_trained(manifest, settings):
    def emptied(dataset):
        def change(case):
            return replace(case, voxels=(1, 0, 0)) if case.dataset == dataset else case

        return edited(manifest, change)

    with pytest.raises(TrainingError, match=r"liver_only: .*--set datasets=both$"):
        plan_training(emptied("liver_only"), settings)
    with pytest.raises(
        TrainingError, match="both: expected a labelled voxel in the fully labelled"
    ):
        plan_training(emptied("both"), settings)
    # an edit that takes the only labels away
    blind = edited(manifest, lambda c: replace(c, voxels=(1, 0, 9), merged=(0, 1, 0)))
    with pytest.raises(TrainingError, match=r"both, liver_only: .*add cases with labels"):
        plan_training(blind, resolve("tiny", ["stage_epochs=0,1"]))
    assert plan_training(emptied("liver_only"), resolve("tiny", ["datasets=both"])).training


def test_without_validation_cases_the_plan_says_so(manifest, settings):
    plan = plan_training(edited(manifest, lambda c: replace(c, split="train")), settings)
    assert plan.remarks == ("no validation cases: the best checkpoint is the last",)


def test_cases_of_two_spacings_are_refused(manifest, settings):
    def stretch(case):
        return replace(case, spacing_mm=(4.0, 4.0, 5.0)) if case.dataset == "both" else case

    with pytest.raises(TrainingError, match="expected cases of one spacing"):
        plan_training(edited(manifest, stretch), settings)


def test_normalisation_is_the_average_over_cases(manifest):
    case = next(manifest.cases())
    cases = [
        replace(
            case,
            foreground_hu_low=low,
            foreground_hu_high=low + 100,
            foreground_hu_mean=mean,
            foreground_hu_std=std,
        )
        for low, mean, std in ((0.0, 10.0, 3.0), (20.0, 18.0, 3.0), (np.nan, np.nan, np.nan))
    ]
    scale = normalisation_of(cases)
    assert (scale.low_hu, scale.high_hu, scale.mean_hu) == (10, 110, 14)
    # within each case 3, and the means lie 4 from their mean: 3, 4, 5
    assert scale.std_hu == pytest.approx(5)
    with pytest.raises(TrainingError, match="none of 1 training cases has intensities"):
        normalisation_of(cases[2:])


def test_cases_that_annotate_a_class_are_counted(manifest, settings):
    plan = plan_training(manifest, settings)
    assert annotated_counts(plan.training, manifest.label_space) == {"liver": 5, "spleen": 2}


@pytest.mark.parametrize(
    "changes", [{"merged": (0, 1, 0)}, {"label_sha256": "1"}, {"split": "test"}]
)
def test_the_digest_follows_what_decides_the_numbers(manifest, settings, changes):
    def change(case):
        return replace(case, **changes) if case.case_id == "both/0" else case

    one = plan_training(manifest, settings).manifest_sha256
    assert one == plan_training(edited(manifest, lambda c: c), settings).manifest_sha256
    assert one != plan_training(edited(manifest, change), settings).manifest_sha256


def test_a_split_that_parts_a_patient_is_told(manifest, settings):
    """A manifest of before, or one that somebody else's program split."""
    cases = list(manifest.cases())
    trained = next(c for c in cases if c.split == "train")
    held = next(c for c in cases if c.split == "validation")

    def related(case):
        return replace(case, related=(held.case_id,)) if case == trained else case

    def same_patient(case):
        return replace(case, subject_id=trained.subject_id) if case == held else case

    for change in (related, same_patient):
        (remark,) = plan_training(edited(manifest, change), settings).remarks
        assert remark.startswith("cases of one patient are in several splits, for 1 patients")
        first = min(trained.subject_id, held.subject_id) if change is related else None
        assert f"({first or trained.subject_id})" in remark
