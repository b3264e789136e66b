"""A condition that holds for no case: the values that would, and the one that was meant."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.ground.findings import Finding
from manifests.table.manifest import write_manifest
from manifests.table.sql import select_cases
from manifests.views.filter_hints import MOST_COMPARED, filter_hints


@pytest.fixture(scope="module")
def path(make_case, make_manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter_hints")
    cases = [
        make_case("btcv/1", split=None, hu_mean=-3.25),
        make_case("btcv/2", split="test", findings=(Finding("single_kidney", "left"),)),
        make_case("kits19/1", blocks=[["liver"]], hu_mean=80.0),
        make_case("\x1b[31m/1", split=None),
    ]
    write_manifest(make_manifest(cases, folder=folder), folder / "manifest.parquet")
    return folder


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("dataset = 'btvc'", "dataset has \ufffd[31m, btcv, kits19; did you mean 'btcv'?"),
        ("DATASET = 'KITS19'", "dataset has \ufffd[31m, btcv, kits19; did you mean 'kits19'?"),
        ("dataset = 'btcv' and split = 'tset'", "split has test, train; did you mean 'test'?"),
        ("split = 'train' and hu_mean > 99", "split has test, train; hu_mean has -3.25 to 80"),
        ("spacing_mm[3] > 9", "spacing_mm has 1.5 to 3"),
        (
            "list_contains([f.code for f in findings], 'single_kidny')",
            "findings has single_kidney; did you mean 'single_kidney'?",
        ),
        ("list_contains(flatten(blocks), 'lever')", " and 1 more; did you mean 'liver'?"),
        ("list_contains(related, 'btcv/1')", "related has no value"),
        ("licence = 'its ''own'''", "licence has CC-BY-4.0"),
    ],
)
def test_values_are_told(path, where, said):
    with select_cases(path, where) as cases:
        text = str(filter_hints(cases, where))
    assert text.startswith(f"no case matches {where}: ")
    assert text.endswith(said)


@pytest.mark.parametrize("where", ["false", "'dataset' = 'x'"])
def test_condition_without_a_column_is_only_told(path, where):
    with select_cases(path, where) as cases:
        assert str(filter_hints(cases, where)) == f"no case matches {where}"


def test_values_of_a_users_own_columns_are_told(path, tmp_path):
    table = pq.read_table(path / "manifest.parquet")
    table = table.append_column("Site", pa.array(["north", "south", "east", "east"]))
    table = table.append_column("ages", pa.array([[30, 40], [50], [], [60]]))
    pq.write_table(table, tmp_path / "manifest.parquet")
    with select_cases(tmp_path, "site = 'nort' and list_contains(ages, 70)") as cases:
        text = str(filter_hints(cases, "site = 'nort' and list_contains(ages, 70)"))
    assert text.endswith(": Site has east, north, south; ages has 30 to 60; did you mean 'north'?")


def test_of_very_many_values_none_is_proposed(make_case, make_manifest):
    case = make_case("a/1")
    manifest = make_manifest([case])
    many = manifest.with_table(manifest.table.take([0] * (MOST_COMPARED + 1)))
    ids = [f"a/{i:04}" for i in range(len(many))]
    table = many.table.set_column(0, many.table.schema.field(0), [ids])
    with select_cases(many.with_table(table)) as cases:
        text = str(filter_hints(cases, "case_id = 'a/00000'"))
    assert text.endswith("a/0006, a/0007 and many more")
    with select_cases(many.with_table(table.slice(0, 20))) as cases:
        text = str(filter_hints(cases, "case_id = 'a/00000'"))
    assert text.endswith("a/0006, a/0007 and 12 more; did you mean 'a/0000'?")
