"""The commands: what a user types and reads."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from manifests.changes.edits import CHANGED
from manifests.classes.label_space import load_label_space
from manifests.commands import app
from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table.manifest import read_manifest, write_manifest
from manifests.views.table_style import NONE, TIMES

LIVER = [["liver", "liver_tumour"]]
HEAVY = ("pyarrow", "duckdb", "pandas", "numpy", "nibabel", "torch", "matplotlib", "scipy")


@pytest.fixture
def folder(make_case, make_manifest, write_volumes, tmp_path):
    """A folder with a manifest of twelve cases and their volumes."""
    cases = [
        *(make_case(f"btcv/{i}", split=None) for i in range(8)),
        make_case("btcv/8", split=None, absent=["spleen"], licence="[bold]CC0[/bold]"),
        make_case("msd_liver/0", blocks=LIVER, split=None),
        make_case("msd_liver/1", blocks=LIVER, split=None, subject_id="\x1b[31mp\x07"),
        make_case(
            "msd_liver/2",
            blocks=LIVER,
            split=None,
            findings=(Finding("spacing_suspect", "1 x 1 x 1 [/nonsense]"),),
        ),
    ]
    written = [write_volumes(case, tmp_path) for case in cases]
    write_manifest(make_manifest(written, folder=tmp_path), tmp_path / "manifest.parquet")
    return tmp_path


def call(*words, status=0):
    """What a command prints on a terminal of 100 columns."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, list(map(str, words)))
    if status is None:
        raise result.exception
    assert result.exit_code == status, result.output
    assert all(len(line) <= 100 for line in result.output.splitlines())
    return result.output


def rows_of(output):
    """The lines of tables as lists of words, by their first word."""
    return {words[0]: words[1:] for words in map(str.split, output.splitlines()) if words}


def splits_of(path):
    return read_manifest(path).table["split"].to_pylist()


# inspect


def test_inspect_shows_who_annotated_what(folder):
    output = call("inspect", folder)
    classes = rows_of(output[output.index("Classes") : output.index("Geometry")])
    assert classes["btcv"] == ["9", "9", "(1", "absent)", "9", "9", "9"]
    assert classes["msd_liver"] == ["3", *[NONE] * 4]
    assert classes["all"] == ["12", "9", "(1", "absent)", "9", "9", "9"]
    for part in ("Datasets", "unassigned", "Geometry", "0.75 x 0.75 x 1.5", "1.5 x 1.5 x 3"):
        assert part.replace(" x ", f" {TIMES} ") in output
    assert rows_of(output)["spacing_suspect"][:3] == ["1", "msd_liver", "1"]
    assert "a spacing of exactly 1 x 1 x 1 mm on a CT" in output


@pytest.mark.parametrize("name", ["abdomen13", "pancreas_tumour"])
def test_inspect_fits_other_label_spaces(make_case, make_manifest, tmp_path, name):
    space = load_label_space(name)
    manifest = make_manifest([make_case(space=space)], space=space, folder=tmp_path)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    output = call("inspect", tmp_path)
    assert output.count("■") == len(space.classes)
    assert {c.name.split("_")[-1] for c in space.classes} <= set(output.split())
    assert "…" not in output


def test_inspect_tells_annotated_in_part(folder):
    where = "case_id in ('btcv/1', 'btcv/2')"
    out = folder / "edited.parquet"
    output = call("edit", folder, "--out", out, "--drop", "liver", "--where", where)
    assert output == call("inspect", out)
    classes = rows_of(output[output.index("Classes") : output.index("Geometry")])
    assert classes["btcv"] == ["7", "of", "9", "9", "(1", "absent)", "9", "9", "9"]
    assert classes["all"][:2] == ["10", "9"]


def test_inspect_of_some_cases(folder):
    output = call("inspect", folder, "--where", "dataset = 'msd_liver'")
    assert "cases 3   datasets 1" in output
    assert "btcv" not in output


def test_inspect_of_no_case_tells_what_there_is(folder):
    where = "dataset = 'btvc'"
    assert call("inspect", folder, "--where", where) == (
        f"no case matches {where}: dataset has btcv, msd_liver; did you mean 'btcv'?\n"
    )
    assert json.loads(call_json("inspect", folder, "--json", "--where", where))["cases"] == 0


def test_inspect_as_json(folder):
    found = json.loads(call_json("inspect", folder, "--json", "--where", "dataset = 'btcv'"))
    assert [d["name"] for d in found["datasets"]] == ["btcv"]
    assert found["datasets"][0]["classes"][1]["absent"] == 1


def call_json(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0
    return result.output


def test_inspect_one_case(folder):
    output = call("inspect", folder, "--case", "msd_liver/2")
    assert "liver | background + spleen + pancreas + left_kidney + right_kidney" in output
    assert rows_of(output)["1"] == ["■", "liver", "annotated", "10", "0.1", NONE]
    assert "1 x 1 x 1 [/nonsense] (a spacing of exactly 1 x 1 x 1 mm" in output
    case = read_manifest(folder).case("msd_liver/2")
    for value in (case.image_sha256, case.source_label_sha256, case.voxels_sha256, case.label):
        assert value in output


def test_inspect_tells_absent_from_not_annotated(folder):
    output = call("inspect", folder, "--case", "btcv/8")
    assert rows_of(output)["2"] == ["■", "spleen", "annotated", "and", "absent", "0", "0.0", NONE]
    other = call("inspect", folder, "--case", "msd_liver/1")
    assert "spleen        not annotated: one with background, pancreas" in other


def test_inspect_one_case_as_json(folder):
    found = json.loads(call_json("inspect", folder, "--case", "msd_liver/1", "--json"))
    assert found["merged"] == [0, 1, 0, 0, 0, 0]
    assert found["merged_in_words"].startswith("liver | background + spleen")
    assert found["subject_id"] == "\x1b[31mp\x07"


def test_text_of_others_steers_nothing(folder):
    output = call("inspect", folder, "--case", "msd_liver/1")
    assert "\ufffd[31mp\ufffd" in output
    assert "\x1b" not in output
    assert "[bold]CC0[/bold]" in call("inspect", folder)


def test_damaged_case_is_named(make_case, make_manifest, tmp_path):
    manifest = make_manifest([make_case(merged=(0, None))], folder=tmp_path)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    for words in ([], ["--json"]):
        with pytest.raises(ManifestError, match="case btcv/1 is not well formed"):
            call("inspect", tmp_path, "--case", "btcv/1", *words, status=None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--case", "btcv/99"], "no case 'btcv/99'"),
        (["--where", "nonsense"], "columns: case_id"),
        (["--where", "dataset = 'btcv'", "--case", "msd_liver/1"], "no case 'msd_liver/1'"),
    ],
)
def test_inspect_of_what_is_not_there(folder, words, complaint):
    with pytest.raises(ManifestError, match=complaint):
        call("inspect", folder, *words, status=None)


# validate


@pytest.mark.parametrize("words", [[], ["--hashes"]])
def test_validate_finds_nothing_in_a_sound_manifest(folder, words):
    assert call("validate", folder, *words) == "12 cases, no problem\n"


def test_validate_lists_problems_and_exits_with_3(folder):
    manifest = read_manifest(folder)
    manifest.path(manifest.case("btcv/3").label).unlink()
    output = call("validate", folder, status=3)
    assert "Problems: 1" in output
    assert rows_of(output)["btcv/3"][:3] == ["label", "a", "file"]


def test_validate_reads_the_volumes_only_when_asked(folder):
    manifest = read_manifest(folder)
    path = manifest.path(manifest.case("btcv/3").label)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    call("validate", folder)
    assert "label_sha256" in call("validate", folder, "--hashes", status=3)


# split


def test_split_in_place(folder):
    output = call("split", folder, "--test", "0.25", "--test", "btcv=3", "--validation", "0.1")
    assert rows_of(output)["btcv"][:5] == ["9", "9", "5", "1", "3"]
    assert rows_of(output)["msd_liver"][:5] == ["3", "3", "1", "1", "1"]
    splits = splits_of(folder)
    assert [splits.count(s) for s in ("train", "validation", "test")] == [6, 2, 4]
    assert read_manifest(folder).settings["split"]["test_by_dataset"] == {"btcv": 3}


def test_split_to_another_file(folder):
    call(
        "split", folder, "--preset", "paper", "--test", "msd_liver=1", "--out", folder / "s.parquet"
    )
    assert splits_of(folder) == [None] * 12
    assert splits_of(folder / "s.parquet").count("test") == 7


def test_split_with_a_seed(folder):
    seen = set()
    for seed in (0, 1, 2):
        call("split", folder, "--test", "btcv=2", "--seed", seed)
        seen.add(tuple(splits_of(folder)))
    assert len(seen) == 3


def test_split_tells_what_whole_patients_cannot_meet(make_case, make_manifest, tmp_path):
    cases = [make_case(f"a/{i}", subject_id=f"{i // 2}") for i in range(6)]
    write_manifest(make_manifest(cases, folder=tmp_path), tmp_path / "manifest.parquet")
    assert "2 (asked 3)" in call("split", tmp_path, "--test", "3")


@pytest.mark.parametrize("asked", ["1", "0.2"])
def test_split_tells_what_no_patient_can_meet(make_case, make_manifest, tmp_path, asked):
    cases = [make_case(f"a/{i}", subject_id="one") for i in range(2)]
    write_manifest(make_manifest(cases, folder=tmp_path), tmp_path / "manifest.parquet")
    assert f" (asked {asked})" in call("split", tmp_path, "--test", asked)


def test_folds_alone_leave_the_split_as_it_is(folder):
    call("split", folder, "--test", "2", "--validation", "1", "--seed", "4")
    held_out, rule = splits_of(folder), read_manifest(folder).settings["split"]
    assert set(held_out) == {"test", "validation", "train"}
    call("split", folder, "--folds", "2", "--seed", "7")
    again = read_manifest(folder)
    assert splits_of(folder) == held_out
    assert again.settings["split"] == rule | {"folds": 2, "seed": 7}
    in_no_fold = [fold is None for fold in again.table["fold"].to_pylist()]
    assert in_no_fold == [split == "test" for split in held_out]


def test_a_report_of_a_manifest_without_its_cases_says_so(make_case, make_manifest, tmp_path):
    manifest = make_manifest([make_case("a/1")], folder=tmp_path)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    words = ["report", str(tmp_path), "--out", str(tmp_path / "pages")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.output
    assert "1 of them could not be drawn" in result.output
    assert "Error(" not in result.output


def test_split_that_fails_changes_nothing(folder):
    before = (folder / "manifest.parquet").read_bytes()
    with pytest.raises(ManifestError, match="'msd_liver' has 3 cases, fewer than asked: 26"):
        call("split", folder, "--preset", "paper", status=None)
    assert (folder / "manifest.parquet").read_bytes() == before


def test_split_that_was_given(folder):
    (folder / "split.csv").write_text("case_id,split\nbtcv/1,test\nbtcv/2,train\n")
    call("split", folder, "--given", folder / "split.csv")
    assert splits_of(folder).count("test") == splits_of(folder).count("train") == 1


def test_a_split_that_the_publishers_made(folder):
    with pytest.raises(ManifestError, match="no column 'table_split'"):
        call("split", folder, "--official", status=None)
    table = pq.read_table(folder / "manifest.parquet")
    column = ["test", "train", "train", "odd", *[None] * (len(table) - 4)]
    pq.write_table(table.append_column("table_split", [column]), folder / "manifest.parquet")
    call("split", folder, "--official", "--folds", "2")
    assert splits_of(folder) == ["test", "train", "train", *[None] * 9]


def test_folds_are_shown_by_class_with_what_they_lack(folder):
    output = call("split", folder, "--folds", "3", "--stratify", "recipe")
    assert rows_of(output)["spleen"] == ["3", "3", "3"]
    assert "no case" not in output
    folds = read_manifest(folder).table["fold"].to_pylist()
    assert sorted(folds) == [0] * 4 + [1] * 4 + [2] * 4
    with pytest.raises(ManifestError, match=r"no column 'recipes'; did you mean 'recipe'"):
        call("split", folder, "--folds", "3", "--stratify", "recipes", status=None)
    lacking = " ".join(call("split", folder, "--folds", "10").split())
    assert "no case annotates spleen, of which 9 patients have cases" in lacking
    call("split", folder, "--test", "0.2")
    assert read_manifest(folder).table["fold"].null_count == 12


def test_given_split_that_parts_a_patient_changes_nothing(make_case, make_manifest, tmp_path):
    cases = [make_case("a/1", split=None, related=("b/1",)), make_case("b/1", split=None)]
    write_manifest(make_manifest(cases, folder=tmp_path), tmp_path / "manifest.parquet")
    before = (tmp_path / "manifest.parquet").read_bytes()
    (tmp_path / "split.csv").write_text("case_id,split\na/1,train\nb/1,test\n")
    with pytest.raises(ManifestError, match="a/1: a/1 in train, b/1 in test"):
        call("split", tmp_path, "--given", tmp_path / "split.csv", status=None)
    assert (tmp_path / "manifest.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "case_id,split\n",
        "case,split\na,train\n",
        "case_id,split\na,dev\n",
        "case_id,split\na,train\na,test\n",
        "case_id,split\na\n",
        "\x00\xff",
    ],
)
def test_given_split_that_cannot_be_read(folder, text):
    (folder / "split.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match=r"split\.csv"):
        call("split", folder, "--given", folder / "split.csv", status=None)


# edit and diff


def test_edit_and_diff(folder):
    out = folder / "edited.parquet"
    words = ["--drop", "spleen", "--merge", "left_kidney, right_kidney", "--where", "case_id < 'c'"]
    call("edit", folder, "--out", out, *words)
    edited = read_manifest(out)
    assert edited.case("btcv/1").merged == (0, 1, 0, 3, 4, 4)
    assert edited.case("msd_liver/1") == read_manifest(folder).case("msd_liver/1")
    assert edited.settings["edits"][0]["merge"] == [["left_kidney", "right_kidney"]]

    output = call("diff", folder, out)
    assert rows_of(output)["merged"][:2] == ["9", "btcv/0"]
    assert "[0, 1, 2, 3, 4, 5] → [0, 1, 0, 3, 4, 4]" in " ".join(output.split())
    assert rows_of(output)["settings"][0] == "edits"
    found = json.loads(call_json("diff", folder, out, "--json"))
    assert len(found["changed"]) == 45
    assert found["changed_cases"] == dict.fromkeys(CHANGED, 9)
    assert call("diff", folder, folder) == "no difference\n"


def test_diff_shows_added_and_removed_cases(folder):
    manifest = read_manifest(folder)
    write_manifest(manifest.with_table(manifest.table.slice(2)), folder / "less.parquet")
    less = call("diff", folder, folder / "less.parquet")
    assert rows_of(less)["-"] == ["removed", "2", "btcv/0,", "btcv/1"]
    more = call("diff", folder / "less.parquet", folder)
    assert rows_of(more)["+"] == ["added", "2", "btcv/0,", "btcv/1"]


def test_edit_goes_to_a_new_file(folder):
    assert "--out" in call("edit", folder, "--drop", "spleen", status=2)
    source = folder / "manifest.parquet"
    before = source.read_bytes()
    for out in (source, folder / "." / "manifest.parquet"):
        with pytest.raises(ManifestError, match="is the manifest to be edited"):
            call("edit", folder, "--out", out, "--drop", "spleen", status=None)
    assert source.read_bytes() == before


# All of them


@pytest.mark.parametrize("command", ["inspect", "validate", "split", "edit", "diff"])
def test_help_of_each_command(command):
    assert "manifest" in call(command, "--help").lower()


@pytest.mark.parametrize(
    "words",
    [
        *(["inspect", "{}"], ["inspect", "{}", "--where", "hu_mean > 0"], ["validate", "{}"]),
        *(["split", "{}", "--test", "0.2"], ["diff", "{}", "{}"]),
        ["edit", "{}", "--out", "{}/e.parquet", "--drop", "spleen", "--where", "hu_mean > 0"],
    ],
)
def test_no_command_holds_all_rows(folder, monkeypatch, words):
    read = pq.ParquetFile.read

    def some_columns(file, columns=None, **options):
        assert columns
        assert "fingerprint" not in columns
        return read(file, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", some_columns)
    call(*(word.format(folder) for word in words))


def test_commands_import_nothing_heavy():
    code = "import sys, manifests.commands; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in out.stdout.split()}
    assert "typer" in loaded
    assert not loaded.intersection(HEAVY)
