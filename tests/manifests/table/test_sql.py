"""SQL: a condition selects cases and can do nothing else, in memory as on disk."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table import manifest as manifest_module
from manifests.table.case import SCHEMA
from manifests.table.manifest import has_schema, read_head, read_manifest, write_manifest
from manifests.table.sql import database, select_cases
from manifests.table.summary import summarise

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
    assert has_schema(path) == written_by_us
    with select_cases(read_manifest(path), where) as cases:
        expected = summarise(cases)
    with select_cases(path.parent, where) as cases:
        assert summarise(cases) == expected


def test_each_case_is_the_one_that_is_read(path):
    with select_cases(path, "dataset <> 'kits19'") as cases:
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
    with select_cases(folder, "dataset = 'kits19'") as cases:
        assert summarise(cases).cases == 1


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
        select_cases(path, condition) as cases,
    ):
        summarise(cases)
    assert "columns: case_id, dataset, subject_id, split," in str(caught.value)
    assert not path.with_name("written.csv").exists()


def test_damaged_rows_are_told(path):
    content = bytearray(path.read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # where the head begins
    content[4:end] = bytes(end - 4)
    path.write_bytes(content)
    with (
        pytest.raises(ManifestError, match=r"manifest\.parquet cannot be read"),
        select_cases(path) as c,
    ):
        summarise(c)


# Columns of a user's own.


def with_column(path, name, values, *, place=None):
    table = pq.read_table(path)
    column = pa.array(values[n % len(values)] for n in range(len(table)))
    pq.write_table(
        table.add_column(table.num_columns if place is None else place, name, column), path
    )


@pytest.mark.parametrize("written_by_us", [True, False])
def test_a_users_own_columns_can_be_asked_for(path, written_by_us):
    with_column(path, "Site (main)", ["north", "south"])
    with_column(path, "age", [30, 40, 50])
    if not written_by_us:
        as_of_another_program(path)
    with select_cases(path, """"Site (main)" = 'north' and age > 35""") as cases:
        assert cases.ids() == ["btcv/2", "btcv/4", "kits19/1"]
        assert cases.case("btcv/2") == read_manifest(path).case("btcv/2")
        assert summarise(cases).cases == 3
    with (
        pytest.raises(ManifestError, match=r"columns: case_id, .*Site \(main\)"),
        select_cases(path, "agee > 35") as cases,
    ):
        cases.ids()


def test_a_column_called_as_one_of_ours_is_not_taken_for_it(path):
    with_column(path, "Dataset", ["mine"], place=0)
    with_column(path, "AGE", [1])
    with_column(path, "age", [2])
    with select_cases(path, "dataset = 'kits19'") as cases:
        assert cases.ids() == ["kits19/1"]
        assert [d.name for d in summarise(cases).datasets] == ["kits19"]
    with select_cases(path) as cases:
        assert summarise(cases).cases == 10
    with (
        pytest.raises(ManifestError, match='"age" not found'),
        select_cases(path, "age = 1") as cases,
    ):
        cases.ids()


# In memory.


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


def ids_of(manifest, where):
    with select_cases(manifest, where) as cases:
        return cases.ids()


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
    assert ids_of(manifest, where) == ids


def test_order_is_kept(manifest):
    backwards = replace(manifest, table=manifest.table.take([3, 2, 1, 0]))
    assert ids_of(backwards, "case_id <> 'kits19/1'") == ["msd_liver/1", "btcv/2", "btcv/1"]


def test_the_case_is_that_of_the_manifest(manifest):
    with select_cases(manifest, "dataset = 'kits19'") as cases:
        assert cases.head == manifest
        assert cases.case("kits19/1") == manifest.case("kits19/1")


def test_fault_is_told_with_the_columns(manifest):
    with pytest.raises(ManifestError) as caught:
        ids_of(manifest, "datset = 'btcv'")
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
        ids_of(manifest, where.format(there=there))
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
        ids_of(manifest, f"exists(select * from {source.format(there=there)})")


@pytest.mark.parametrize("name", ['"table"', "manifest", "numbers", "outside"])
def test_no_python_variable_can_be_read(manifest, name):
    outside = manifest.table  # DuckDB would find it by its name
    assert outside.num_rows
    with pytest.raises(ManifestError, match=r"does not exist|syntax error"):
        ids_of(manifest, f"exists(select * from {name})")


ENDLESS = "(select count(*) from range(1000000) a, range(1000000) b where a.range < b.range) > 5"
CTRL_C = """
import signal, sys, threading
from pathlib import Path
from manifests.table.sql import select_cases
for seconds in (0.0, 0.01, 0.2):
    try:
        with select_cases(Path(sys.argv[1]), sys.argv[2]) as cases:
            threading.Timer(seconds, signal.raise_signal, [signal.SIGINT]).start()
            cases.ids()
    except KeyboardInterrupt:
        print("Ctrl-C")
with select_cases(Path(sys.argv[1]), "true") as cases:
    print(len(cases.ids()))
"""


def test_ctrl_c_in_a_condition_is_ctrl_c(path):
    words = [sys.executable, "-c", CTRL_C, str(path), ENDLESS]
    # in a process of its own, which is ended after a minute whatever it waits for
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["Ctrl-C", "Ctrl-C", "Ctrl-C", "10"]


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_error_of_what_ctrl_c_broke_off_is_ctrl_c(interrupted):
    """DuckDB 2.0 tells it as an error of the Arrow table whose rows it was counting."""
    expected = KeyboardInterrupt if interrupted else duckdb.InvalidInputException

    def broken_off() -> None:
        with database():
            with suppress(KeyboardInterrupt):
                if interrupted:
                    signal.raise_signal(signal.SIGINT)
            raise duckdb.InvalidInputException("counting the rows failed: KeyboardInterrupt")

    with pytest.raises(expected):
        broken_off()


def test_signals_go_where_they_went_before(manifest):
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        before = signal.set_wakeup_fd(there.fileno())
        try:
            assert ids_of(manifest, "split is null") == ["btcv/2"]
        finally:
            assert signal.set_wakeup_fd(before) == there.fileno()


def test_a_condition_is_used_in_other_threads_too(manifest):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ids_of, manifest, "split is null").result() == ["btcv/2"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("dataset = btcv", "'btcv' is no column; text stands in single quotes: dataset = 'btcv'"),
        ('dataset = "btcv"', "text stands in single quotes: dataset = 'btcv'"),
        ("datset = 'btcv'", "'datset' is no column; did you mean 'dataset'?"),
        (
            "dataset = kits 19",
            "text stands in single quotes, as in \"dataset = 'btcv'\"; ",
        ),
    ],
)
def test_text_without_quotes_and_slips_are_told(manifest, where, said):
    with pytest.raises(ManifestError) as raised, select_cases(manifest, where) as cases:
        cases.ids()
    assert said in str(raised.value)


def test_a_case_that_is_not_there_is_answered_with_near_ones_or_the_first(manifest):
    with select_cases(manifest) as cases:
        some = cases.ids()[0]
        with pytest.raises(ManifestError, match=f"did you mean .*{some}"):
            cases.case(some.partition("/")[2])
        with pytest.raises(ManifestError, match=f"; it has '{some}'"):
            cases.case("zzzzzz")
