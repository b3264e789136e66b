"""A table that says of each case what was annotated, where one label map holds all structures."""

import numpy as np
import pytest

from curate.cases.target import Target
from curate.drafts.trial import try_recipe
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.preparation.tables import plan_view
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from tests.curate.defects import SHAPE, ct, write_nifti

RECIPE = """
name = "some"
title = "Other organs in other patients"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "pairs"
roots = ["some"]
case = 's\\d+'
images = ["{case}/ct.nii.gz"]
labels = ["{case}/label.nii.gz"]

[table]
files = ["drawn.csv"]
case = "scan"
annotated = "drawn"

[values]
1 = ["liver", "liver_tumour"]
2 = ["spleen"]
300 = ["left_kidney", "right_kidney", "left_kidney_tumour", "right_kidney_tumour"]
"""
TABLE = {
    "s1": "Liver + spleen; kidneys",
    "s2": "liver",
    "s3": "left kidney, spleen",
    "s4": "none",
}

pytestmark = pytest.mark.usefixtures("_in_this_process")


@pytest.fixture
def raw(tmp_path):
    label = np.zeros(SHAPE, np.uint16)
    label[2:5, 6:10, 6:9], label[5:8, 8:12, 8:12], label[8:10, 6:9, 6:9] = 1, 2, 300
    for name in (*TABLE, "s5", "s6"):
        folder = tmp_path / "some" / name
        folder.mkdir(parents=True)
        write_nifti(folder / "ct.nii.gz", ct())
        write_nifti(folder / "label.nii.gz", label)
    (tmp_path / "some.toml").write_text(RECIPE)
    return tmp_path


def made(raw, table):
    lines = [f'{name},"{drawn}"' for name, drawn in table.items()]
    (raw / "some" / "drawn.csv").write_text("\n".join(["scan,drawn", *lines]))
    target = Target(load_label_space("abdomen5"), (0.8, 0.8, 2.5), raw / "out")
    return prepare(PrepareRequest((load_recipe(raw / "some.toml"),), raw, target), workers=1)


def test_the_merged_classes_of_each_case_are_what_its_row_says(raw):
    report = made(raw, {**TABLE, "s5": ""})
    cases = {case.case_id[-2:]: case for case in report.manifest.cases()}
    assert {name: case.annotated for name, case in cases.items()} == {
        "s1": ("liver", "spleen"),
        "s2": ("liver",),
        "s3": ("spleen",),  # the value means both kidneys, and one of them was drawn
        "s4": (),
    }
    assert cases["s1"].merged == (0, 1, 2, 0, 4, 4)
    assert cases["s2"].merged == (0, 1, 0, 0, 0, 0)
    assert cases["s2"].voxels == (sum(cases["s2"].voxels) - 36, 36, 0, 0, 0, 0)
    assert [(r.case.name, r.finding.code) for r in report.rejected] == [
        ("s5", "annotation_unknown"),
        ("s6", "annotation_unknown"),
    ]


def test_the_plan_and_the_check_count_what_was_not_annotated(raw):
    made(raw, TABLE)
    recipe = load_recipe(raw / "some.toml")
    target = Target(load_label_space("abdomen5"), (0.8, 0.8, 2.5), raw / "out")
    (planned,) = plan(PrepareRequest((recipe,), raw, target))
    kidneys = "left_kidney + right_kidney + left_kidney_tumour + right_kidney_tumour"
    counts = {"liver + liver_tumour": 2, "spleen": 2, kidneys: 3}
    assert planned.unannotated == counts
    shown = "".join(str(part) for part in plan_view([planned], raw).renderables)
    assert "not annotated in some of 6 cases" in shown
    trial = try_recipe(recipe, raw, most=1)
    assert trial.unannotated == counts
    assert any("spleen in 2" in line for line in trial.summary)
    (problem,) = trial.problems
    assert problem.startswith("2 cases cannot be used")


def test_only_the_case_whose_row_changed_is_made_again(raw):
    made(raw, TABLE)
    assert made(raw, TABLE).made == 0
    report = made(raw, {**TABLE, "s2": "liver, spleen"})
    assert report.made == 1
    assert report.manifest.case("some/s2").annotated == ("liver", "spleen")


def test_a_case_that_is_gone_from_its_dataset_is_kept_as_it_was_made(raw):
    made(raw, TABLE)
    (raw / "some" / "s2" / "label.nii.gz").unlink()
    report = made(raw, {k: v for k, v in TABLE.items() if k != "s2"})
    assert report.manifest.case("some/s2").annotated == ("liver",)


def test_a_word_that_is_no_structure_is_said(raw):
    report_of = dict(TABLE, s2="lever")
    with pytest.raises(Exception, match=r"expected structures in the column drawn.*'lever'.*liver"):
        made(raw, report_of)
