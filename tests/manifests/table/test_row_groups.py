"""What is done by row groups is what is done to the whole manifest."""

import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.changes import edits as edits_module
from manifests.changes.diff import diff
from manifests.changes.edits import edit
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import COLUMNS, assign_splits
from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table import manifest as manifest_module
from manifests.table.manifest import read_manifest, set_columns, write_manifest
from manifests.table.row_groups import read_row_groups, rewrite, with_users_columns
from manifests.table.validate import validate

LIVER = [["liver", "liver_tumour"]]
WHERE = "list_contains(annotated, 'spleen') and hu_mean < 50"


@pytest.fixture
def path(make_case, make_manifest, tmp_path, monkeypatch):
    """A manifest of row groups of three rows, of which some do not hold."""
    monkeypatch.setattr(manifest_module, "ROWS_IN_GROUP", 3)
    monkeypatch.setattr(edits_module, "ROWS_AT_ONCE", 4)
    cases = [
        *(make_case(f"btcv/{i}", hu_mean=10.0 * i) for i in range(7)),
        make_case("btcv/7", subject_id="btcv/1", split="test", fingerprint="aé"),
        make_case("btcv/8", spacing_mm=(0.0, 1.0, 1.0), findings=(Finding("no_kidney", ""),)),
        make_case("msd_liver/1", blocks=LIVER, related=("btcv/2",)),
    ]
    path = tmp_path / "below" / "manifest.parquet"
    write_manifest(make_manifest(cases, folder=path.parent), path)
    return path


def as_of_another_program(path):
    """The same rows in one row group, in another type and order and with one more column."""
    table = pq.read_table(path)
    index = table.schema.get_field_index("dataset")
    table = table.set_column(index, "dataset", table["dataset"].dictionary_encode())
    table = table.append_column("later", pa.array(range(len(table))))
    pq.write_table(table.select(table.column_names[::-1]), path)


@pytest.fixture(params=[True, False])
def any_path(path, request):
    if not request.param:
        as_of_another_program(path)
    return path


def test_row_groups_are_the_rows_in_order(any_path):
    whole, parts = read_manifest(any_path), list(read_row_groups(any_path))
    assert pa.concat_tables(p.table for p in parts).equals(whole.table)
    assert all(replace(p, table=whole.table) == whole for p in parts)


def test_row_groups_are_those_of_the_file(path):
    assert [len(part) for part in read_row_groups(path)] == [3, 3, 3, 1]


def test_columns_are_those_of_the_whole(any_path):
    read = read_manifest(any_path.parent, ["related", "case_id"])
    assert read.table.equals(read_manifest(any_path).table.select(["related", "case_id"]))


def test_split_file_is_that_of_the_whole(any_path):
    request = SplitRequest(test=0.3, validation=0.2, seed=1)
    for out in (any_path.with_name("s.parquet"), any_path.parents[1] / "above.parquet"):
        write_manifest(assign_splits(read_manifest(any_path), request), out)
        expected = read_manifest(out)
        rewrite(any_path, assign_splits(read_manifest(any_path, COLUMNS), request), out)
        assert read_manifest(out) == expected
    assert expected.case("btcv/1").image == "below/cases/btcv/1/image.nii"


def test_rewritten_file_is_byte_for_byte_that_of_the_whole(path):
    request, out = SplitRequest(test=0.3), path.with_name("s.parquet")
    write_manifest(assign_splits(read_manifest(path), request), out)
    rewrite(path, assign_splits(read_manifest(path, COLUMNS), request), path)
    assert path.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("where", [None, WHERE])
def test_edited_file_is_that_of_the_whole(any_path, where):
    words = {"drop": ["pancreas"], "merge": [["left_kidney", "right_kidney"]], "where": where}
    out = any_path.with_name("e.parquet")
    read = read_manifest(any_path, edits_module.COLUMNS)
    rewrite(any_path, edit(read, **words, source=any_path), out)
    expected = edit(read_manifest(any_path), **words)
    assert read_manifest(out) == expected
    assert expected.settings["edits"][0]["cases"] == (9 if where is None else 7)


def test_edit_that_fails_is_told(path):
    read = read_manifest(path, edits_module.COLUMNS)
    for words in ({"drop": ["spleen"], "where": "false"}, {"drop": ["splen"]}):
        with pytest.raises(ManifestError, match=r"none of 0 selected|did you mean 'spleen'"):
            edit(read, **words, source=path)


def test_empty_manifest_is_rewritten(make_manifest, tmp_path):
    path = tmp_path / "manifest.parquet"
    write_manifest(make_manifest([], folder=tmp_path), path)
    rewrite(path, read_manifest(path, ["case_id"]), path)
    assert len(read_manifest(path)) == 0
    assert validate(path) == []


@pytest.mark.parametrize("rows", [slice(1, None), slice(0, 9), slice(0, 8), slice(0, 0)])
def test_manifest_that_changed_meanwhile_is_not_mixed(path, rows):
    assigned = assign_splits(read_manifest(path, COLUMNS), SplitRequest(test=0.3))
    manifest = read_manifest(path)
    write_manifest(manifest.with_table(manifest.table[rows]), path)
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="was changed while it was being read"):
        rewrite(path, assigned, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["manifest.parquet"]  # noqa: PTH208


def test_validation_is_that_of_the_whole(path):
    problems = validate(path)
    as_of_another_program(path)  # in one row group
    assert problems == validate(path)
    assert {p.column for p in problems} >= {"split", "subject_id", "image", "label", "spacing_mm"}


@pytest.mark.parametrize("examples", [None, 1])
def test_diff_is_that_of_the_whole(path, examples):
    out, manifest = path.parents[1] / "e.parquet", read_manifest(path)
    edited = edit(manifest, drop=["liver"], where="case_id <> 'btcv/2'")
    fewer = edited.with_table(edited.table.take([9, 7, 0, 1, 2, 3]))
    other = fewer.table["fingerprint"].to_pylist()
    other[1] = "bé"
    index = fewer.table.schema.get_field_index("fingerprint")
    field = fewer.table.schema.field(index)
    write_manifest(fewer.with_table(fewer.table.set_column(index, field, [other])), out)
    found = diff(path, out, examples=examples)
    as_of_another_program(path)
    as_of_another_program(out)
    assert found == diff(path, out, examples=examples)
    assert found.removed == ("btcv/4", "btcv/5", "btcv/6", "btcv/8")
    assert found.changed_cases["blocks"] == 5
    assert found.changed_cases["fingerprint"] == 1  # and neither image nor label
    counted = {c.column: 0 for c in found.changed}
    for change in found.changed:
        counted[change.column] += 1
    assert counted == (dict.fromkeys(counted, 1) if examples else found.changed_cases)


def test_diff_of_what_is_no_manifest(path):
    with pytest.raises(ManifestError, match="no manifest at"):
        diff(path, path.with_name("nowhere.parquet"))


def test_damaged_fingerprints_are_told(path):
    content = bytearray(path.read_bytes())
    column = next(
        chunk
        for chunk in map(pq.ParquetFile(path).metadata.row_group(2).column, range(99))
        if chunk.path_in_schema == "fingerprint"
    )
    start = column.dictionary_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    with pytest.raises(ManifestError, match="cannot be read as a manifest"):
        validate(path)


def test_a_users_own_columns_are_kept(path):
    table = pq.read_table(path)
    own = {"site": [f"s{n}" for n in range(len(table))], "age": list(range(len(table)))}
    for name, values in own.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path, row_group_size=3)
    rewrite(path, assign_splits(read_manifest(path, COLUMNS), SplitRequest(test=0.3)), path)
    kept = pq.read_table(path)
    assert {name: kept[name].to_pylist() for name in own} == own
    fewer = read_manifest(path)
    fewer = fewer.with_table(fewer.table.take([4, 0]))
    new = fewer.with_table(set_columns(fewer.table.slice(0, 1), {"case_id": ["new/1"]}))
    both = fewer.with_table(pa.concat_tables([fewer.table, new.table]))
    again = with_users_columns(both, path).table
    assert again["site"].to_pylist() == ["s4", "s0", None]
    assert again["age"].to_pylist() == [4, 0, None]
