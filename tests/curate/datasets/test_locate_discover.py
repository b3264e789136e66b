"""Finding a dataset below a folder, and its labelled cases."""

import json
import signal

import pytest

from curate.cases.making import CaseJob, make
from curate.cases.target import Target
from curate.datasets.discover import discover, published
from curate.datasets.locate import locate
from curate.drafts.trial import try_recipe
from curate.preparation.plan import PrepareRequest, plan_cases
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import SourceError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def write_decathlon(root, entries):
    root.mkdir(parents=True)
    training = [{"image": f"./imagesTr/{e}", "label": f"./labelsTr/{e}"} for e in entries]
    (root / "dataset.json").write_text(json.dumps({"training": training}))
    return root


@pytest.mark.parametrize("place", ["Task03_Liver", "msd_liver/Task03_Liver", "msd_liver"])
def test_decathlon_folder_is_found_where_users_put_it(tmp_path, place):
    root = write_decathlon(tmp_path / place, ["liver_0.nii.gz"])
    found = locate(load_recipe("msd_liver"), tmp_path, tmp_path / "unpacked")
    assert (found.kind, found.path) == ("folder", root)


def test_raw_may_be_the_dataset_itself(tmp_path):
    root = write_decathlon(tmp_path / "x", ["liver_0.nii.gz"])
    assert locate(load_recipe("msd_liver"), root, tmp_path / "unpacked").path == root


def test_unpacked_folder_goes_before_an_archive(tmp_path):
    touch(tmp_path / "Task03_Liver.tar")
    recipe = load_recipe("msd_liver")
    assert locate(recipe, tmp_path, tmp_path / "unpacked").kind == "archive"
    write_decathlon(tmp_path / "unpacked" / "Task03_Liver", ["liver_0.nii.gz"])
    assert locate(recipe, tmp_path, tmp_path / "unpacked").kind == "folder"


def test_missing_dataset_says_what_was_expected_and_where_to_get_it(tmp_path):
    with pytest.raises(SourceError, match=r"Task03_Liver\*\.tar.*Get it at https://"):
        locate(load_recipe("msd_liver"), tmp_path, tmp_path / "unpacked")
    with pytest.raises(SourceError, match="syn3379050"):
        locate(load_recipe("btcv"), tmp_path, tmp_path / "unpacked")


def test_decathlon_cases_come_from_the_list_in_numeric_order(tmp_path):
    names = ["liver_10.nii.gz", "liver_9.nii.gz", "liver_0.nii.gz"]
    root = write_decathlon(tmp_path / "Task03_Liver", names)
    touch(root / "imagesTr" / "._liver_0.nii.gz")
    cases = discover(load_recipe("msd_liver"), root)
    assert [c.name for c in cases] == ["liver_0", "liver_9", "liver_10"]
    assert cases[0].label == root / "labelsTr" / "liver_0.nii.gz"
    assert cases[0].case_id == "msd_liver/liver_0"


def test_an_expression_that_never_ends_is_stopped_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.recipes.expression_match.MATCH_SECONDS", 0.2)
    recipe = load_recipe("kits19")
    name = "a" * 40
    layout = recipe.layout.model_copy(update={"case": "(a+)+b"})
    label = layout.labels[0].replace("{case}", name)
    touch(tmp_path / label)
    with pytest.raises(SourceError, match=r"kits19: case = '\(a\+\)\+b' in \[layout\].*aaaa"):
        discover(recipe.model_copy(update={"layout": layout}), tmp_path)
    assert signal.getsignal(signal.SIGVTALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_a_list_that_leaves_its_folder_is_refused(tmp_path):
    root = write_decathlon(tmp_path / "Task03_Liver", ["../../../secret.nii.gz"])
    with pytest.raises(SourceError, match="leaves"):
        discover(load_recipe("msd_liver"), root)


@pytest.mark.parametrize("text", ["{", "[]", '{"training": [{"image": "a"}]}', '{"training": []}'])
def test_damaged_list_is_named(tmp_path, text):
    root = write_decathlon(tmp_path / "Task03_Liver", [])
    (root / "dataset.json").write_text(text)
    with pytest.raises(SourceError, match=r"msd_liver|dataset\.json"):
        discover(load_recipe("msd_liver"), root)


def test_pairs_take_the_image_where_it_lies_and_pass_over_foreign_names(tmp_path):
    root = tmp_path / "kits19"
    for name in ("case_00000", "case_00002"):
        touch(root / "data" / name / "segmentation.nii.gz")
    touch(root / "data" / "case_x" / "segmentation.nii.gz")
    touch(root / "images" / "case_00002.nii.gz")
    cases = discover(load_recipe("kits19"), root)
    assert [c.name for c in cases] == ["case_00000", "case_00002"]
    assert cases[0].image == root / "data" / "case_00000" / "imaging.nii.gz"  # to be reported
    assert cases[1].image == root / "images" / "case_00002.nii.gz"


def test_btcv_ids_are_those_of_the_labels(tmp_path):
    root = tmp_path / "RawData"
    for name in ("0001", "0021"):
        touch(root / "Training" / "img" / f"img{name}.nii.gz")
        touch(root / "Training" / "label" / f"label{name}.nii.gz")
    touch(root / "Testing" / "img" / "img0061.nii.gz")
    assert [c.name for c in discover(load_recipe("btcv"), root)] == ["0001", "0021"]


SESSIONS = """
name = "bids"
title = "Sessions"
version = "1"
licence = "none"
commercial_use = false
citation = "none"
[layout]
kind = "pairs"
roots = ["study"]
case = 'sub-\\w+?_ses-\\w+?'
images = ["sub-*/ses-*/{case}_ct.nii.gz"]
labels = ["derivatives/*/*/{case}_dseg.nii.gz"]
[values]
1 = ["spleen"]
"""


def test_a_star_stands_for_any_one_name(tmp_path):
    (tmp_path / "bids.toml").write_text(SESSIONS)
    root = tmp_path / "study"
    for at in ("sub-a/ses-1/sub-a_ses-1", "sub-a/ses-2/sub-a_ses-2"):
        touch(root / f"{at}_ct.nii.gz")
        touch(root / "derivatives" / f"{at}_dseg.nii.gz")
    touch(root / "derivatives" / "deep" / "sub-b" / "ses-1" / "sub-b_ses-1_dseg.nii.gz")
    cases = discover(load_recipe(tmp_path / "bids.toml"), root)
    assert [c.name for c in cases] == ["sub-a_ses-1", "sub-a_ses-2"]
    assert cases[1].image == root / "sub-a" / "ses-2" / "sub-a_ses-2_ct.nii.gz"


ONE_EACH = ["sub-{}/ses-1/sub-{}_ct.nii.gz", "derivatives/sub-{}/ses-1/sub-{}_dseg.nii.gz"]


@pytest.mark.parametrize("second", range(2))
def test_a_case_of_several_images_or_labels_is_set_aside_alone(tmp_path, second):
    recipe = tmp_path / "bids.toml"
    recipe.write_text(SESSIONS.replace("?_ses-\\w+?", "?"))
    for subject in "ab":
        for path in ONE_EACH:
            touch(tmp_path / "study" / path.format(subject, subject))
    touch(tmp_path / "study" / ONE_EACH[second].format("a", "a").replace("ses-1", "ses-2"))
    several, good = discover(load_recipe(recipe), tmp_path / "study")
    assert good.finding is None
    assert several.finding.code == "files_ambiguous"
    assert ONE_EACH[second].format("a", "a") in several.finding.reason
    trial = try_recipe(load_recipe(recipe), tmp_path, most=1)
    assert trial.whole == 1
    assert "1 cases cannot be used" in trial.problems[0]
    assert "expected one file where the recipe" in trial.problems[0]
    target = Target(load_label_space("abdomen5"), (3.0, 3.0, 3.0), tmp_path / "out")
    planned = plan_cases(
        load_recipe(recipe), PrepareRequest((load_recipe(recipe),), tmp_path, target)
    )
    assert planned.open == (several, good)
    job = CaseJob(several, load_recipe(recipe), target, tmp_path / "staging")
    assert make(job) == several.finding


def test_of_two_patterns_the_first_that_finds_a_label_counts(tmp_path):
    root = tmp_path / "kits19"
    for at in ("data/case_00001", "case_00001"):
        touch(root / at / "segmentation.nii.gz")
    (case,) = discover(load_recipe("kits19"), root)
    assert case.finding is None
    assert case.label == root / "data" / "case_00001" / "segmentation.nii.gz"


@pytest.mark.parametrize("raw", ["", "{}"])
@pytest.mark.parametrize(("name", "below"), [("kits19", "data"), ("kits23", "dataset")])
def test_kits_is_found_as_it_is_downloaded(tmp_path, name, below, raw):
    root = tmp_path / name
    touch(root / below / "case_00000" / "segmentation.nii.gz")
    image = touch(root / "images" / "case_00000.nii.gz")
    recipe = load_recipe(name)
    found = locate(recipe, tmp_path / raw.format(name), tmp_path / "unpacked")
    (case,) = discover(recipe, found.path)
    assert case.image == image


def test_two_stars_stand_for_folders_of_any_depth(tmp_path):
    for label in ("s1_seg.nii.gz", "x/s2_seg.nii.gz", "x/y/s3_seg.nii.gz"):
        touch(tmp_path / "labels" / label)
    layout = load_recipe("amos22").layout.model_copy(
        update={"case": r"s\d", "labels": ("labels/**/{case}_seg.nii.gz",)}
    )
    assert [case.name for case in published(layout, tmp_path)] == ["s1", "s2", "s3"]
