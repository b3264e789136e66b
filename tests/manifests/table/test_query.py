"""Query: an SQL condition selects cases, and can do nothing else."""

from dataclasses import replace

import pytest

from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table.query import filter_cases, matching_rows

LIVER = [["liver", "liver_tumour"]]


@pytest.fixture
def manifest(make_case, make_manifest):
    return make_manifest(
        [
            make_case("btcv/1", split="test"),
            make_case("btcv/2", split=None, absent=["spleen"]),
            make_case("kits19/1", findings=(Finding("single_kidney", "left"),)),
            make_case("msd_liver/1", blocks=LIVER, spacing_mm=(1.5, 1.5, 5.0)),
        ],
        settings={"prepare": {}},
    )


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("dataset = 'btcv'", ["btcv/1", "btcv/2"]),
        ("dataset <> 'btcv' and hu_mean > 0", ["kits19/1", "msd_liver/1"]),
        ("list_contains(annotated, 'spleen')", ["btcv/1", "btcv/2", "kits19/1"]),
        ("list_contains(annotated, 'spleen') and voxels[3] = 0", ["btcv/2"]),
        ("spacing_mm[3] > 3", ["msd_liver/1"]),
        ("list_contains([f.code for f in findings], 'single_kidney')", ["kits19/1"]),
        ("split is null", ["btcv/2"]),
        ("split = 'test' or split = 'train'", ["btcv/1", "kits19/1", "msd_liver/1"]),
        ("split <> 'test'", ["kits19/1", "msd_liver/1"]),  # null is neither
        ("true -- and nothing else", ["btcv/1", "btcv/2", "kits19/1", "msd_liver/1"]),
        ("false", []),
    ],
)
def test_condition_selects_cases(manifest, where, ids):
    assert filter_cases(manifest, where).table["case_id"].to_pylist() == ids


def test_order_is_kept(manifest):
    backwards = replace(manifest, table=manifest.table.take([3, 2, 1, 0]))
    kept = filter_cases(backwards, "case_id <> 'kits19/1'")
    assert kept.table["case_id"].to_pylist() == ["msd_liver/1", "btcv/2", "btcv/1"]
    assert matching_rows(backwards, "dataset = 'btcv'") == [2, 3]


def test_the_rest_of_the_manifest_stays(manifest):
    kept = filter_cases(manifest, "dataset = 'kits19'")
    assert kept.table.schema == manifest.table.schema
    assert replace(kept, table=manifest.table) == manifest
    assert kept.case("kits19/1") == manifest.case("kits19/1")


def test_fault_is_told_with_the_columns(manifest):
    with pytest.raises(ManifestError) as caught:
        filter_cases(manifest, "datset = 'btcv'")
    message = str(caught.value)
    assert "datset = 'btcv'" in message
    assert 'Referenced column "datset" not found' in message
    assert "columns: case_id, dataset, subject_id, split," in message


@pytest.mark.parametrize(
    "where",
    [
        *("", "dataset =", "count(*) > 1", "dataset = 'a', dataset = 'b'", "'btcv'"),
        *("true) or (true", "true; select 1", "true; drop table cases", "true union select 1"),
        *("true limit 1", "true order by case_id", "exists(delete from cases)"),
        "exists(select * from query('copy (select 1) to ''{there}'''))",
    ],
)
def test_only_a_condition_is_taken(manifest, where, tmp_path):
    there = tmp_path / "written.csv"
    with pytest.raises(ManifestError, match="cannot be used"):
        filter_cases(manifest, where.format(there=there))
    assert not there.exists()


@pytest.mark.parametrize(
    "source",
    [
        *("read_text('{there}')", "read_csv('{there}')", "read_blob('{there}')", "'{there}'"),
        *("glob('{there}*')", "query('select * from read_text(''{there}'')')"),
        *("read_text('https://example.org/x')", "'https://example.org/x.parquet'"),
    ],
)
def test_no_file_can_be_read(manifest, source, tmp_path):
    there = tmp_path / "secret.csv"
    there.write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match=r"disabled by configuration|does not exist"):
        filter_cases(manifest, f"exists(select * from {source.format(there=there)})")


@pytest.mark.parametrize("name", ['"table"', "manifest", "numbers", "outside"])
def test_no_python_variable_can_be_read(manifest, name):
    outside = manifest.table  # DuckDB would find it by its name
    assert outside.num_rows
    with pytest.raises(ManifestError, match=r"does not exist|syntax error"):
        filter_cases(manifest, f"exists(select * from {name})")
