"""Diff: what was added, removed and changed, cell by cell."""

import json
import math
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from manifests.changes.diff import ABSENT, Change, Difference, ManifestDiff, diff
from manifests.changes.edits import edit
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.ground.findings import Finding
from manifests.table.manifest import read_manifest, write_manifest
from manifests.views.diff_view import diff_view


@pytest.fixture
def diff_of(save_manifest):
    return lambda old, new, **options: diff(*map(save_manifest, (old, new)), **options)


@pytest.fixture
def cases(make_case):
    return [make_case(f"a/{i}") for i in (1, 2, 3)]


def test_same_manifest_has_no_difference(make_manifest, cases, diff_of):
    found = diff_of(make_manifest(cases), make_manifest(cases))
    assert found == ManifestDiff((), (), (), (), ())
    assert not found


def test_order_of_rows_is_no_difference(make_manifest, cases, diff_of):
    manifest = make_manifest(cases)
    assert not diff_of(manifest, manifest.with_table(manifest.table.take([2, 0, 1])))


def test_added_and_removed(make_manifest, make_case, cases, diff_of):
    found = diff_of(make_manifest(cases), make_manifest([*cases[1:], make_case("b/1")]))
    assert (found.added, found.removed, found.changed) == (("b/1",), ("a/1",), ())
    assert found


def test_to_and_from_nothing(make_manifest, cases, diff_of):
    nothing, all_ = make_manifest([]), make_manifest(cases)
    assert diff_of(nothing, all_).added == diff_of(all_, nothing).removed == ("a/1", "a/2", "a/3")


@pytest.mark.parametrize(
    ("column", "old", "new"),
    [
        ("split", "train", None),
        ("split", None, "test"),
        ("hu_mean", 40.0, math.nan),
        ("voxels", (1050, 10, 20, 30, 40, 50), (1050, 10, 20, 30, 50, 40)),
        ("blocks", (("liver",),), (("liver",), ("spleen",))),
        ("findings", (), (Finding("no_kidney", "none"),)),
        ("image", "a.nii", "b.nii"),
        ("licence", "CC0-1.0", "CC-BY-4.0"),
    ],
)
def test_changed_cell(make_manifest, cases, column, old, new, diff_of):
    first, second = ([*cases[:2], replace(cases[2], **{column: value})] for value in (old, new))
    (change,) = diff_of(make_manifest(first), make_manifest(second)).changed
    assert (change.case_id, change.column) == ("a/3", column)
    rows = [replace(cases[2], **{column: value}).to_row()[column] for value in (old, new)]
    assert json.dumps([change.old, change.new]) == json.dumps(rows)


def test_nan_is_like_nan(make_manifest, make_case, diff_of):
    manifests = [make_manifest([make_case(hu_mean=math.nan)]) for _ in range(2)]
    assert not diff_of(*manifests)


def test_changes_stand_by_case_and_column(make_manifest, cases, diff_of):
    manifest = make_manifest(cases)
    found = diff_of(manifest, edit(manifest, drop=["spleen"], where="case_id <> 'a/2'"))
    columns = ["blocks", "merged", "annotated", "voxels", "volume_ml"]
    assert [(c.case_id, c.column) for c in found.changed] == [
        (case_id, column) for case_id in ("a/1", "a/3") for column in columns
    ]
    assert found.changed[1] == Change("a/1", "merged", [0, 1, 2, 3, 4, 5], [0, 1, 0, 3, 4, 5])
    assert [d.key for d in found.settings] == ["edits"]


def test_files_that_stay_where_they_are_do_not_change(make_manifest, cases, tmp_path, diff_of):
    below = make_manifest(cases, folder=tmp_path / "below")
    write_manifest(below, tmp_path / "manifest.parquet")
    above = read_manifest(tmp_path / "manifest.parquet")
    assert above.case("a/1").image != below.case("a/1").image
    assert not diff_of(below, above)


def test_a_copied_folder_shows_what_changed_in_it_and_no_paths(make_manifest, cases, tmp_path):
    """As when a prepared folder is copied, and prepared again at another spacing."""
    old, new = tmp_path / "old", tmp_path / "new"
    respaced = [replace(c, spacing_mm=(3.0, 3.0, 3.0)) for c in cases]
    for folder, rows in ((old, cases), (new, respaced)):
        folder.mkdir()
        write_manifest(make_manifest(rows, folder=folder), folder / "manifest.parquet")
    found = diff(old, new, examples=1)
    assert found.changed_cases == {"spacing_mm": 3}
    assert [(c.case_id, c.column) for c in found.changed] == [("a/1", "spacing_mm")]
    assert diff_view(found)
    assert not diff(old, old)


def test_settings_are_compared_by_key(make_manifest, cases, diff_of):
    manifest = make_manifest(cases)
    first = assign_splits(manifest, SplitRequest(test=1))
    second = assign_splits(manifest, SplitRequest(test=1, test_by_dataset={"a": 1}, seed=7))
    assert diff_of(first, second).settings == (
        Difference("split.seed", 0, 7),
        Difference("split.test_by_dataset.a", ABSENT, 1),
    )
    assert diff_of(second, first).settings[1] == Difference("split.test_by_dataset.a", 1, ABSENT)


def test_label_spaces_are_compared(make_manifest, diff_of):
    old, new = (make_manifest([], space=load_label_space(n)) for n in ("abdomen5", "abdomen13"))
    keys = {d.key: d for d in diff_of(old, new).label_space}
    assert keys["name"] == Difference("name", "abdomen5", "abdomen13")
    assert keys["classes.0.name"] == Difference("classes.0.name", "liver", "spleen")
    assert keys["classes.12"].old == ABSENT
    assert "classes.2.laterality" in keys
    assert not diff_of(old, old).label_space


def test_json_is_what_is_found(make_manifest, make_case, cases, diff_of):
    new = make_manifest([replace(cases[0], hu_mean=math.nan), make_case("b/1")])
    found = json.loads(diff_of(make_manifest(cases), new).to_json())
    assert found["added"] == ["b/1"]
    assert found["changed"] == [{"case_id": "a/1", "column": "hu_mean", "old": 40.0, "new": None}]


def test_view_says_in_words_what_a_hash_that_changed_means(make_manifest, cases, diff_of):
    new = replace(cases[0], label_sha256="e" * 64, voxels_sha256="f" * 64, fingerprint="AAAA")
    console = Console(width=80, record=True, file=StringIO())
    console.print(diff_view(diff_of(make_manifest(cases), make_manifest([new, *cases[1:]]))))
    shown = console.export_text()
    assert "a/1: its label file is another" in shown
    assert "a/1: the voxels of its image differ" in shown
    assert "a/1: its scan looks otherwise" in shown
    assert "eeee" not in shown


def test_view_tells_what_changed_in_how_many_cases(make_manifest, make_case, cases, diff_of):
    many = [make_case(f"new/{i}") for i in range(1200)]
    counts = tuple(range(10**9, 10**9 + 6))
    edited = replace(cases[2], voxels=(*counts[:5], 7), split=None)
    manifests = (
        make_manifest([*cases[1:2], replace(cases[2], voxels=counts)]),
        make_manifest([*cases[1:2], edited, *many], settings={"prepare": "\x1b[31m"}),
    )
    console = Console(width=80, record=True, file=StringIO())
    console.print(diff_view(diff_of(*manifests, examples=1)))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert [line.split()[:4] for line in lines if line[0] != " "] == [
        ["Differences"],
        ["what", "cases", "example"],
        ["+", "added", "1,200", "new/0,"],
        ["split", "1", "a/3", "train"],
        ["voxels", "1", "a/3"],
        ["settings", "prepare", "(not", "there)"],
        ["every", "change,", "whole:", "--json"],
    ]
    start = lines[4].index("a/3")
    assert lines[5][start:] == "…000003, 1000000004, 1000000005]"
    assert lines[6][start:] == "\N{RIGHTWARDS ARROW} …000003, 1000000004, 7]"
    assert lines[7].endswith("\ufffd[31m")
