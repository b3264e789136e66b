"""Patients and further facts of cases, from a dataset's table to the manifest."""

import json

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.table.sql import select_cases
from manifests.table.validate import validate

pytestmark = pytest.mark.usefixtures("_in_this_process")

RECIPE = """
name = "{name}"
title = "Visits"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "pairs"
roots = ["{name}"]
case = '[^/]+'
images = ["ct/{{case}}.nii.gz"]
labels = ["seg/{{case}}.nii.gz"]
{subject}
{table}
[values]
1 = ["spleen"]
"""
TABLE = '[table]\nfiles = ["t.csv"]\ncase = "scan"\n{}\n'


def write_dataset(raw, name, cases):
    rng = np.random.default_rng(list(name.encode()))
    for case in cases:
        hu = rng.integers(-100, 200, (12, 12, 8)).astype(np.int16)
        label = np.zeros(hu.shape, np.uint8)
        label[3:7, 3:7, 3:6] = 1
        for folder, voxels in (("ct", hu), ("seg", label)):
            path = raw / name / folder / f"{case}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, np.diag([-5.0, -5.0, 5.0, 1.0])), path)


@pytest.fixture
def run(tmp_path):
    def run(*recipes):
        loaded = []
        for name, subject, table in recipes:
            path = tmp_path / f"{name}.toml"
            path.write_text(RECIPE.format(name=name, subject=subject, table=table))
            loaded.append(load_recipe(path))
        target = Target(load_label_space("abdomen5"), (5.0, 5.0, 5.0), tmp_path / "out")
        report = prepare(PrepareRequest(tuple(loaded), tmp_path, target), workers=1)
        assert validate(report.path) == []
        return report, pq.read_table(report.path)

    return run


def test_visits_of_a_patient_have_one_subject_and_one_split(run, tmp_path):
    names = [f"case_{patient:02d}{visit:02d}" for patient in range(6) for visit in range(3)]
    write_dataset(tmp_path, "visits", names)
    _, table = run(("visits", r"subject = 'case_(\d\d)'", ""))
    subjects = dict(zip(table["case_id"].to_pylist(), table["subject_id"].to_pylist(), strict=True))
    assert subjects == {f"visits/{n}": f"visits/{n[5:7]}" for n in names}
    splits = set(zip(subjects.values(), table["split"].to_pylist(), strict=True))
    assert len(splits) == 6
    assert {split for _, split in splits} == {"train", "test", "validation"}


def test_the_table_may_change_and_no_case_is_made_again(run, tmp_path):
    write_dataset(tmp_path, "one", "ab")
    path = tmp_path / "one" / "t.csv"
    path.write_text("scan,who,age,part\na,p,70,test\nb,q,,train\n")
    how = TABLE.format('subject = "who"\nsplit = "part"')
    _, table = run(("one", "", how))
    assert table["subject_id"].to_pylist() == ["one/p", "one/q"]
    assert table["table_age"].to_pylist() == [70, None]
    assert table["table_split"].to_pylist() == ["test", "train"]
    path.write_text("scan,who,site,part\na,p,Bern,test\nb,p,Ulm,train\n")
    again, table = run(("one", "", how))
    assert again.made == 0
    assert table["subject_id"].to_pylist() == ["one/p", "one/p"]
    assert table["table_site"].to_pylist() == ["Bern", "Ulm"]
    assert "table_age" not in table.column_names
    assert len(set(table["split"].to_pylist())) == 1


def test_a_tables_columns_are_conditions_wherever_the_manifest_lies(run, tmp_path):
    write_dataset(tmp_path, "one", "ab")
    (tmp_path / "one" / "t.csv").write_text("scan,age\na,70\nb,30\n")
    report, table = run(("one", "", TABLE.format("")))
    odd = report.path.with_name("odd[1].parquet")
    older = report.path.with_name("older.parquet")
    pq.write_table(table, odd)
    pq.write_table(table.drop_columns("fold"), older)
    for path in (report.path, odd, older):
        with select_cases(path, "table_age > 50") as cases:
            assert cases.ids() == ["one/a"]


def test_columns_of_several_datasets_have_a_type_that_holds_all(run, tmp_path):
    write_dataset(tmp_path, "one", "a")
    write_dataset(tmp_path, "two", "a")
    (tmp_path / "one" / "t.csv").write_text("scan,age,dose,sick\na,70,3,true\n")
    (tmp_path / "two" / "t.csv").write_text("scan,age,dose,sick\na,70.5,low,1\n")
    how = TABLE.format("")
    _, table = run(("one", "", how), ("two", "", how))
    assert table["table_age"].to_pylist() == [70.0, 70.5]
    assert table["table_dose"].to_pylist() == ["3", "low"]
    assert table["table_sick"].to_pylist() == ["true", "1"]


def test_what_a_dataset_told_stays_when_another_is_prepared(run, tmp_path):
    write_dataset(tmp_path, "one", "ab")
    write_dataset(tmp_path, "two", "a")
    (tmp_path / "one" / "t.csv").write_text("scan,who\na,p\nb,p\n")
    run(("one", "", TABLE.format('subject = "who"')))
    (tmp_path / "one" / "t.csv").unlink()
    _, table = run(("two", "", ""))
    assert table["subject_id"].to_pylist() == ["one/p", "one/p", "two/a"]
    kept = json.loads((tmp_path / "out" / "cases" / "one" / "facts.json").read_text())
    assert kept["a"]["subject"] == "p"


def test_a_dataset_whose_table_is_missing_is_not_prepared(run, tmp_path):
    write_dataset(tmp_path, "one", "a")
    write_dataset(tmp_path, "two", "a")
    report, table = run(("one", "", TABLE.format("")), ("two", "", ""))
    assert table["dataset"].to_pylist() == ["two"]
    assert "expected t.csv" in report.problems[0]
