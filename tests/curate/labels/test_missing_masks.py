"""Masks that are not in every case: what the recipe says they mean is what the manifest says."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import curate.commands
from curate.cases.target import Target
from curate.drafts.trial import try_recipe
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.preparation.tables import plan_view
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError, RecipeError
from tests.curate.defects import SHAPE, ct, write_nifti

RECIPE = """
name = "many"
title = "One mask per structure"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "masks"
missing_mask = "{}"
roots = ["Many*"]
case = 's\\d+'
images = ["{{case}}/ct.nii.gz"]
labels = ["{{case}}/segmentations"]

[masks]
"spleen.nii.gz" = ["spleen"]
"lobe_1.nii.gz" = ["liver", "liver_tumour"]
"lobe_2.nii.gz" = ["liver", "liver_tumour"]
"""
BOXES = {
    "spleen.nii.gz": np.s_[2:5, 6:10, 6:9],
    "lobe_1.nii.gz": np.s_[5:8, 8:12, 8:12],
    "lobe_2.nii.gz": np.s_[8:10, 8:12, 8:12],
}
SPLEEN, LOBE_1, LOBE_2 = BOXES

pytestmark = pytest.mark.usefixtures("_in_this_process")


def write_case(root, name, *masks):
    folder = root / "Many" / name / "segmentations"
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder.parent / "ct.nii.gz", ct())
    for mask in masks:
        write_mask(folder, mask)


def write_mask(folder, mask):
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[BOXES[mask]] = 1
    write_nifti(folder / mask, voxels)


@pytest.fixture
def raw(tmp_path):
    write_case(tmp_path, "s1", *BOXES)
    write_case(tmp_path, "s2", LOBE_1, LOBE_2)
    write_case(tmp_path, "s3", SPLEEN, LOBE_1)
    write_case(tmp_path, "s4")
    return tmp_path


def request(raw, missing_mask):
    path = raw / "many.toml"
    path.write_text(RECIPE.format(missing_mask))
    target = Target(load_label_space("abdomen5"), (3.0, 3.0, 3.0), raw / "out")
    return PrepareRequest((load_recipe(path),), raw, target)


def made(request):
    report = prepare(request, workers=1)
    return report, {case.case_id.split("/")[1]: case for case in report.manifest.cases()}


def test_a_missing_mask_is_an_error_unless_the_recipe_says_what_it_means(raw):
    report, cases = made(request(raw, "error"))
    assert list(cases) == ["s1"]
    assert [r.finding.code for r in report.rejected] == ["file_missing"] * 3


def test_a_mask_that_no_case_has_is_misspelt(raw):
    wanted = request(raw, "not_annotated")
    text = (raw / "many.toml").read_text()
    (raw / "many.toml").write_text(text.replace('"spleen.nii.gz"', '"spleem.nii.gz"'))
    recipe = load_recipe(raw / "many.toml")
    with pytest.raises(MarginaliaError, match=r"none of 4; did you mean 'spleen.nii.gz'"):
        prepare(replace(wanted, recipes=(recipe,)), workers=1)


def test_a_missing_mask_was_not_annotated(raw):
    report, cases = made(request(raw, "not_annotated"))
    assert {name: case.annotated for name, case in cases.items()} == {
        "s1": ("liver", "spleen"),
        "s2": ("liver",),
        "s3": ("spleen",),  # one lobe alone is not the liver
    }
    assert cases["s2"].merged == (0, 1, 0, 0, 0, 0)
    assert cases["s3"].merged == (0, 0, 2, 0, 0, 0)
    assert cases["s3"].voxels[1] == 0
    assert [(r.case.name, r.finding.code) for r in report.rejected] == [("s4", "file_missing")]
    reasons = [f.reason for f in cases["s2"].findings if f.code == "mask_missing"]
    assert reasons == ["spleen.nii.gz: its structures are not annotated in this case"]


def test_a_missing_mask_says_that_a_structure_is_absent(raw):
    _, cases = made(request(raw, "absent"))
    assert {case.annotated for case in cases.values()} == {("liver", "spleen")}
    assert {name: case.voxels[2] > 0 for name, case in cases.items()} == {
        "s1": True,
        "s2": False,
        "s3": True,
    }
    assert 0 < cases["s3"].voxels[1] < cases["s1"].voxels[1]


def test_a_case_is_made_again_when_a_mask_appears_or_means_something_else(raw):
    made(request(raw, "not_annotated"))
    assert prepare(request(raw, "not_annotated"), workers=1).made == 0
    write_mask(raw / "Many" / "s2" / "segmentations", SPLEEN)
    report, cases = made(request(raw, "not_annotated"))
    assert report.made == 1
    assert cases["s2"].annotated == ("liver", "spleen")
    assert prepare(request(raw, "absent"), workers=1).made == 3


def test_the_plan_and_the_check_count_the_masks_that_are_missing(raw):
    asked = request(raw, "not_annotated")
    (planned,) = plan(asked)
    assert planned.missing_masks == {SPLEEN: 1, LOBE_1: 1, LOBE_2: 1}
    shown = "".join(str(part) for part in plan_view([planned], raw).renderables)
    assert "taken as not annotated" in shown
    trial = try_recipe(asked.recipes[0], raw, most=5)
    assert trial.missing_masks[SPLEEN] == 1  # of s2; s4 is set aside
    assert any("taken as not annotated" in line for line in trial.summary)
    (problem,) = [
        p
        for p in try_recipe(request(raw, "error").recipes[0], raw, most=5).problems
        if "missing_mask" in p
    ]
    assert "spleen.nii.gz in 2" in problem


def test_recipes_say_what_they_may_say(raw):
    with pytest.raises(RecipeError, match="missing_mask"):
        request(raw, "perhaps")


@pytest.mark.parametrize("answer", ["not_annotated", "absent"])
def test_a_new_recipe_asks_what_a_missing_mask_means(raw, answer, monkeypatch):
    for mask in ("lobe_1.nii.gz", "lobe_2.nii.gz"):
        for path in raw.glob(f"Many/*/segmentations/{mask}"):
            path.rename(path.with_name(mask.replace("lobe_1", "liver").replace("lobe_2", "aorta")))
    monkeypatch.setattr("curate.drafts.commands.is_terminal", lambda: True)
    out = raw / "new.toml"
    words = ["recipe", "new", str(raw / "Many"), "--name", "many", "--out", str(out)]
    result = CliRunner().invoke(curate.commands.app, words, input=f"perhaps\n{answer}\n")
    assert result.exit_code == 0, result.output
    assert "aorta.nii.gz in 2, liver.nii.gz in 1, spleen.nii.gz in 2" in result.output
    assert load_recipe(out).layout.missing_mask == answer


@pytest.mark.parametrize("missing_mask", ["not_annotated", "absent"])
def test_a_mask_of_where_nobody_looked_may_be_missing(raw, monkeypatch, missing_mask):
    text = RECIPE.replace('"lobe_2.nii.gz" = ["liver", "liver_tumour"]', f'"{LOBE_2}" = "ignored"')
    monkeypatch.setitem(globals(), "RECIPE", text)
    _, cases = made(request(raw, missing_mask))
    assert cases["s3"].annotated == cases["s1"].annotated != ()
    assert cases["s3"].volume_ml[1] == cases["s1"].volume_ml[1] > 0
