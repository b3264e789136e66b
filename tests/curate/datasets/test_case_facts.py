"""What names, paths and tables tell of cases: BIDS, the Decathlon, TotalSegmentator, KiTS."""

import json
from pathlib import Path

import pytest

from curate.datasets.case_facts import CaseFacts, case_facts
from curate.datasets.discover import SourceCase
from curate.datasets.table_rows import read_rows
from curate.recipes.schema import Recipe, load_recipe
from manifests.ground.errors import RecipeError, SourceError

SHARED = Path(__file__).parents[4] / "shared" / "data"
HEAD = {"title": "t", "version": "1", "licence": "CC0-1.0", "commercial_use": True}


def recipe(table=None, subject=None, **layout):
    pairs = {"kind": "pairs", "case": ".+", "images": ["{case}"], "labels": ["{case}"]}
    facts = {
        **HEAD,
        "name": "mine",
        "citation": "none",
        "layout": {"roots": ["x"], "subject": subject, **(layout or pairs)},
        "values": {1: ["spleen"]},
    }
    return Recipe.model_validate({**facts, **({"table": table} if table else {})})


def cases(root, *names, place="labels"):
    return [SourceCase("mine", n, root / f"i/{n}.nii", root / f"{place}/{n}.nii") for n in names]


def facts_of(tmp_path, made, *names, table="", file="t.csv", **where):
    if table:
        (tmp_path / file).write_text(table, encoding="utf-8")
    return case_facts(made, tmp_path, cases(tmp_path, *names, **where))


@pytest.mark.parametrize(
    ("expression", "name", "place", "patient"),
    [
        (r"case_(\d\d)", "case_0203", "labels", "02"),
        (r"p\d+", "x_p7_visit_1", "labels", "p7"),
        (r"patient_(\d+)", "visit_1", "patient_12", "12"),
        (r"sub-[^_/]+", "sub-A1_ses-2", "labels", "sub-A1"),
    ],
)
def test_the_patient_is_found_in_the_name_or_else_in_the_path(
    tmp_path, expression, name, place, patient
):
    found = facts_of(tmp_path, recipe(subject=expression), name, place=place)
    assert found[name] == CaseFacts(patient)


def test_a_name_without_the_patient_is_noted(tmp_path):
    found = facts_of(tmp_path, recipe(subject=r"p(\d+)"), "x")["x"]
    assert found.subject == ""
    assert [f.code for f in found.findings] == ["subject_unknown"]


@pytest.mark.parametrize("expression", ["(a", "(a)(b)"])
def test_an_expression_that_names_no_patient_is_refused(expression):
    with pytest.raises(ValueError, match=r"one group at most|not a regular expression"):
        recipe(subject=expression)


def test_a_table_by_case_gives_patient_split_and_typed_columns(tmp_path):
    made = recipe({"files": ["t.csv"], "case": "file", "subject": "who", "split": "set"})
    text = (
        "\ufefffile;who;set;Age;BMI (kg);smoker;code;note\n"
        "imagesTr/a_0000.nii.gz;07;tr;71;22.5;true;007;x\n"
        "b.nii.gz;07;val;n/a;30;FALSE;010;\n"
        "elsewhere;8;test;1;1;true;1;y\n"
    )
    found = facts_of(tmp_path, made, "a", "b", "c", table=text)
    columns = {"age": 71, "bmi_kg": 22.5, "smoker": True, "code": "007", "note": "x"}
    assert found["a"] == CaseFacts("07", "train", columns)
    columns = {"age": None, "bmi_kg": 30.0, "smoker": False, "code": "010", "note": None}
    assert found["b"] == CaseFacts("07", "validation", columns)
    assert [f.code for f in found["c"].findings] == ["table_row_missing", "subject_unknown"]


def test_participants_of_bids_give_their_row_to_every_session(tmp_path):
    made = recipe({"files": ["participants.tsv"], "subject": "participant_id"}, "sub-[^_/]+")
    text = "participant_id\tage\nsub-01\t34\nsub-02\tn/a\n"
    names = ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1")
    found = facts_of(tmp_path, made, *names, table=text, file="participants.tsv")
    assert [found[n].subject for n in names] == ["sub-01", "sub-01", "sub-02"]
    assert [found[n].columns["age"] for n in names] == [34, 34, None]


def test_the_decathlon_may_have_patients_and_a_table_too(tmp_path):
    table = {"files": ["t.csv"], "case": "scan", "columns": ["site"]}
    made = recipe(table, r"liver_(\d+)", kind="decathlon")
    text = "scan,site,other\nliver_0.nii.gz,Bern,1\nliver_1.nii.gz,Ulm,2\n"
    found = facts_of(tmp_path, made, "liver_0", "liver_1", table=text)
    assert found["liver_1"] == CaseFacts("1", None, {"site": "Ulm"})


def test_meta_csv_of_totalsegmentator(tmp_path):
    text = (
        "\ufeffimage_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;"
        "pathology;pathology_location\n"
        "s0000;70;f;C;ct abdomen;val;siemens;Force;110.0;no_pathology;\n"
        "s0001;;m;A;ct thorax;train;ge;;120.0;tumor;lung\n"
    )
    (tmp_path / "meta.csv").write_text(text, encoding="utf-8")
    found = case_facts(load_recipe("totalsegmentator"), tmp_path, cases(tmp_path, "s0000", "s0001"))
    assert [f.split for f in found.values()] == ["validation", "train"]
    assert found["s0001"].columns["age"] is None
    assert (found["s0000"].columns["age"], found["s0000"].columns["kvp"]) == (70, 110.0)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data at {SHARED}")
def test_kits_json_as_it_was_published(tmp_path):
    (tmp_path / "kits.json").write_bytes((SHARED / "kits19" / "kits.json").read_bytes())
    found = case_facts(load_recipe("kits19"), tmp_path, cases(tmp_path, "case_00000", "case_00151"))
    columns = found["case_00000"].columns
    assert columns["age_at_nephrectomy"] == 49
    assert columns["comorbidities_dementia"] is False
    assert columns["pathology_t_stage"] == "1a"
    assert not found["case_00151"].findings


def test_an_optional_table_may_be_missing_and_another_may_not(tmp_path):
    made = recipe({"files": ["t.csv"], "case": "c", "optional": True})
    assert facts_of(tmp_path, made, "a")["a"] == CaseFacts()
    with pytest.raises(SourceError, match=r"mine: \[table\].*expected t\.csv in .*optional"):
        facts_of(tmp_path, recipe({"files": ["t.csv"], "case": "c"}), "a")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("c,who\na,1\na,2\n", "one row of each c, got several that differ of 'a'"),
        ("c\na\n", "expected the columns who, got c"),
        ("c,who\nx,1\n", "names such as 'a' in the column c, got none of 1"),
        ("c,who\na\n", "row 1 has 1 cells"),
        ("", "cannot be used as a table"),
        ("c,who,part\na,1,somewhere\n", "expected a split in the column part.*'somewhere'"),
        ("c,who,part,Age,age\na,1,test,3,4\n", "differ in more than capitals.*'Age', 'age'"),
    ],
)
def test_a_table_that_says_nothing_sure_is_refused(tmp_path, text, complaint):
    split = {"split": "part"} if "part" in text else {}
    made = recipe({"files": ["t.csv"], "case": "c", "subject": "who", **split})
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=complaint):
        case_facts(made, tmp_path, cases(tmp_path, "a"))


@pytest.mark.parametrize("table", [{"files": ["t.csv"]}, {"files": ["../t.csv"], "case": "c"}])
def test_a_table_of_nobody_or_outside_the_dataset_is_refused(table):
    with pytest.raises(ValueError, match=r"the column that says of whom|path below the folder"):
        recipe(table)


def test_rows_by_patient_need_the_patient_of_the_layout(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "t"\nversion = "1"\nlicence = "x"\ncommercial_use = false\n'
        'citation = "none"\n[layout]\nkind = "decathlon"\nroots = ["x"]\n'
        '[table]\nfiles = ["t.tsv"]\nsubject = "who"\n[values]\n1 = ["spleen"]\n'
    )
    with pytest.raises(RecipeError, match="expected `case`, or `subject` in"):
        load_recipe(path)


def test_json_keeps_its_types_and_is_flattened(tmp_path):
    records = [{"id": "a", "grade": "3", "egfr": {"value": 7.0, "day": None}, "sizes": [1, 2]}]
    (tmp_path / "t.json").write_text(json.dumps(records))
    row = {"id": "a", "grade": "3", "egfr_value": 7.0, "egfr_day": None, "sizes": "[1, 2]"}
    assert read_rows(tmp_path / "t.json") == [row]
