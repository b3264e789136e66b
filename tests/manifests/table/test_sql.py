"""Cases that are asked for on disk are those of the manifest that is read whole."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table import manifest as manifest_module
from manifests.table.case import SCHEMA
from manifests.table.manifest import is_as_written, read_head, read_manifest, write_manifest
from manifests.table.query import filter_cases
from manifests.table.sql import on_disk
from manifests.table.summary import summarise, summary_of

LIVER = [["liver", "liver_tumour"]]
CONDITIONS = [
    "dataset = 'btcv'",
    "list_contains(annotated, 'spleen') and voxels[3] = 0",
    "list_contains([f.code for f in findings], 'single_kidney')",
    "split is null or spacing_mm[3] * 2 > 6",
    "true -- and nothing else",
    "DATASET <> 'btcv' and len(fingerprint) >= 0",
    "false",
]


@pytest.fixture
def path(make_case, make_manifest, tmp_path, monkeypatch):
    """A manifest of several row groups in a folder that looks like a partition's."""
    monkeypatch.setattr(manifest_module, "ROWS_IN_GROUP", 3)
    folder = tmp_path / "dataset=mine"
    cases = [
        *(make_case(f"btcv/{i}", split="test" if i % 3 else None) for i in range(7)),
        make_case("btcv/7", absent=["spleen"], subject_id="btcv/1"),
        make_case("kits19/1", findings=(Finding("single_kidney", "left"),)),
        make_case("msd_liver/1", blocks=LIVER, spacing_mm=(1.5, 1.5, 5.0), fingerprint="é"),
    ]
    write_manifest(make_manifest(cases, folder=folder), folder / "manifest.parquet")
    return folder / "manifest.parquet"


def as_of_another_program(path):
    """The same rows in other types, another order and with one more column."""
    table = pq.read_table(path)
    index = table.schema.get_field_index("dataset")
    table = table.set_column(index, "dataset", table["dataset"].dictionary_encode())
    table = table.append_column("later", pa.array(range(len(table))))
    pq.write_table(table.select(table.column_names[::-1]), path)


@pytest.mark.parametrize("written_by_us", [True, False])
@pytest.mark.parametrize("where", [None, *CONDITIONS])
def test_summary_is_that_of_the_rows_in_memory(path, where, written_by_us):
    if not written_by_us:
        as_of_another_program(path)
    assert is_as_written(path) == written_by_us
    read = read_manifest(path)
    expected = summarise(read if where is None else filter_cases(read, where))
    with on_disk(path.parent, where) as cases:
        assert summary_of(cases) == expected


def test_each_case_is_the_one_that_is_read(path):
    with on_disk(path, "dataset <> 'kits19'") as cases:
        for case in read_manifest(path).cases():
            if case.dataset != "kits19":
                assert cases.case(case.case_id) == case
        with pytest.raises(ManifestError, match=r"no case 'kits19/1' in the cases of .* for which"):
            cases.case("kits19/1")
        with pytest.raises(ManifestError, match="no case"):
            cases.case("btcv/1' or 'a' = 'a")


def test_head_is_the_manifest_without_its_rows(path):
    read, head = read_manifest(path), read_head(path)
    assert len(head) == 0
    assert head.table.schema.equals(SCHEMA)
    assert replace(head, table=read.table) == read


@pytest.mark.parametrize("name", ["[a]", "what?", "all*", "it's"])
def test_name_of_a_folder_is_no_pattern(path, name):
    folder = path.parent.with_name(name)
    path.parent.rename(folder)
    with on_disk(folder, "dataset = 'kits19'") as cases:
        assert summary_of(cases).cases == 1


@pytest.mark.parametrize(
    "where",
    [
        *("", "datset = 'btcv'", "count(*) > 1", "true) or (true", "true; select 1"),
        *("true union select 1", "exists(delete from cases)", "case_id::int = 1"),
        *("exists(from read_text('{there}'))", "exists(from '{there}')"),
        *("exists(from read_parquet('{there}'))", "exists(from glob('{folder}/*'))"),
        "exists(from query('copy (select 1) to ''{folder}/written.csv'''))",
        "exists(from read_text('https://example.org/x'))",
    ],
)
def test_only_a_condition_over_the_columns_is_taken(path, where):
    there = path.with_name("secret.parquet")
    there.write_bytes(path.read_bytes())
    condition = where.format(there=there, folder=path.parent)
    with (
        pytest.raises(ManifestError, match="cannot be used") as caught,
        on_disk(path, condition) as cases,
    ):
        summary_of(cases)
    assert "columns: case_id, dataset, subject_id, split," in str(caught.value)
    assert not path.with_name("written.csv").exists()


def test_damaged_rows_are_told(path):
    content = bytearray(path.read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # where the head begins
    content[4:end] = bytes(end - 4)
    path.write_bytes(content)
    with (
        pytest.raises(ManifestError, match=r"manifest\.parquet cannot be read"),
        on_disk(path) as c,
    ):
        summary_of(c)
