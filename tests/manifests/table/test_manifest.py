"""The manifest on disk: whole or not there, and never trusted."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.changes.diff import diff
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import ManifestError
from manifests.ground.findings import Finding
from manifests.table import manifest as manifest_module
from manifests.table.case import BY_CLASS, SCHEMA, Case
from manifests.table.manifest import (
    SCHEMA_VERSION,
    column_bytes,
    manifest_file,
    read_manifest,
    write_manifest,
)
from manifests.table.row_groups import read_row_groups
from manifests.table.sql import select_cases
from manifests.table.summary import summarise
from manifests.table.validate import validate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.parquet"


@pytest.fixture
def written(make_case, make_manifest, path):
    """A manifest of two cases on disk."""
    manifest = make_manifest([make_case("btcv/1"), make_case("btcv/2")], folder=path.parent)
    write_manifest(manifest, path)
    return manifest


def rewrite(path, table=None, **metadata):
    """Write the table again, with other metadata."""
    table = pq.read_table(path) if table is None else table
    stored = {k.decode(): v for k, v in pq.read_table(path).schema.metadata.items()}
    entries = {f"marginalia.{name}": value for name, value in metadata.items()}
    pq.write_table(table.replace_schema_metadata({**stored, **entries}), path)


def test_round_trip(make_case, make_manifest, path):
    cases = [
        make_case("kits19/2", split=None, findings=(Finding("single_kidney", "the left one"),)),
        make_case("kits19/1", blocks=[["spleen"]], absent=["spleen"], annotated=("spleen",)),
        make_case("btcv/1", blocks=[]),
    ]
    manifest = make_manifest(cases, folder=path.parent, settings={"prepare": {"limit": None}})
    write_manifest(manifest, path)
    read = read_manifest(path)

    assert list(read.cases()) == sorted(cases, key=lambda c: c.case_id)
    assert read.table.schema.equals(SCHEMA)
    assert read.label_space == manifest.label_space
    assert read.settings == {"prepare": {"limit": None}}
    assert read.folder == path.parent
    assert read.software_version == manifest.software_version


@pytest.mark.usefixtures("written")
def test_rows_are_parquet_that_others_can_read(path):
    table = pq.read_table(path)
    assert table["case_id"].to_pylist() == ["btcv/1", "btcv/2"]
    assert json.loads(table.schema.metadata[b"marginalia.label_space"])["name"] == "abdomen5"
    assert table.schema.metadata[b"marginalia.schema_version"] == str(SCHEMA_VERSION).encode()
    assert all(field.metadata[b"doc"] for field in table.schema)


def test_a_manifest_from_before_folds_is_read_and_rewritten(written, path):
    rewrite(path, pq.read_table(path).drop_columns("fold"))
    assert [case.fold for case in read_manifest(path).cases()] == [None, None]
    assert list(read_manifest(path).cases()) == list(written.cases())
    assert read_manifest(path, ["fold", "case_id"]).table.num_columns == 2
    with select_cases(path, "fold is null") as cases:
        assert cases.ids() == ["btcv/1", "btcv/2"]
    row = written.case("btcv/1").to_row()
    del row["fold"]
    assert Case.from_row(row) == written.case("btcv/1")


def test_nan_stays_nan(make_case, make_manifest, path):
    case = make_case(blocks=[], foreground_hu_mean=math.nan)
    write_manifest(make_manifest([case], folder=path.parent), path)
    assert math.isnan(read_manifest(path).case(case.case_id).foreground_hu_mean)


def test_row_gives_the_case_back(make_case):
    case = make_case(findings=(Finding("no_kidney", "none"),))
    assert Case.from_row({**case.to_row(), "a_column_of_later": 1}) == case


def test_write_that_fails_half_way_leaves_the_old_file(written, path, monkeypatch):
    before = path.read_bytes()

    def write_half(writer, _, **_options):
        writer.file_handle.write(before[: len(before) // 2])
        msg = "no space left on device"
        raise OSError(msg)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_half)
    with pytest.raises(OSError, match="no space left"):
        write_manifest(written, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["manifest.parquet"]


@pytest.mark.usefixtures("written")
def test_folder_stands_for_the_manifest_in_it(path):
    assert manifest_file(path.parent) == manifest_file(path) == path
    assert len(read_manifest(path.parent)) == 2


def test_manifest_moves_up_with_its_paths(written, path):
    above = path.parent.parent / "above.parquet"
    write_manifest(written, above)
    read = read_manifest(above)
    prefix = path.parent.name
    assert read.case("btcv/1").image == f"{prefix}/cases/btcv/1/image.nii"
    assert read.path(read.case("btcv/1").label) == path.parent / "cases/btcv/1/label.nii"


@pytest.mark.parametrize("where", ["below/manifest.parquet", "../beside/manifest.parquet"])
def test_manifest_moves_nowhere_else(written, path, where):
    with pytest.raises(ManifestError, match="cannot name cases in"):
        write_manifest(written, path.parent / where)


def test_manifest_has_its_suffix(written, path):
    with pytest.raises(ManifestError, match=r"called \*.parquet"):
        write_manifest(written, path.with_suffix(".csv"))


# What cannot be read.


def test_missing_file(tmp_path):
    with pytest.raises(ManifestError, match=r"no manifest at .*manifest\.parquet"):
        read_manifest(tmp_path)


def test_two_rows_of_one_case_are_refused_wherever_ids_are_read(written, path):
    table = written.table
    rewrite(path, pa.concat_tables([table, table.slice(1)]))
    for columns in (SCHEMA.names, ["split", "case_id"]):
        with pytest.raises(ManifestError, match=r"got 2 of 'btcv/2'; .*marginalia validate"):
            read_manifest(path, columns)
    with pytest.raises(ManifestError, match="got 2 of 'btcv/2'"):
        diff(path, path)
    assert len(read_manifest(path, ["split"])) == 3


def test_file_that_is_no_parquet(path):
    path.write_text("case_id,dataset\n")
    with pytest.raises(ManifestError, match="cannot be read as a manifest"):
        read_manifest(path)


@pytest.mark.usefixtures("written")
def test_truncated_file(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ManifestError, match="cannot be read as a manifest"):
        read_manifest(path)


@pytest.mark.parametrize("metadata", [None, {b"\xff": b"\xfe"}])
def test_foreign_parquet(path, metadata):
    pq.write_table(pa.table({"case_id": ["x"]}).replace_schema_metadata(metadata), path)
    with pytest.raises(ManifestError, match="a Parquet file that is not a manifest"):
        read_manifest(path)


@pytest.mark.usefixtures("written")
def test_other_schema_version(path):
    rewrite(path, schema_version="999", software_version="7.0")
    with pytest.raises(ManifestError, match=r"schema version 2, got 999.*\(7.0\)"):
        read_manifest(path)


@pytest.mark.parametrize(
    "metadata",
    [
        *({"label_space": "{}"}, {"label_space": "]"}, {"settings": "{"}, {"settings": "[]"}),
        *({"settings": '{"edits": 1}'}, {"settings": "[" * 100_000}),
    ],
)
@pytest.mark.usefixtures("written")
def test_damaged_metadata(path, metadata):
    rewrite(path, **metadata)
    with pytest.raises(ManifestError, match="metadata is damaged"):
        read_manifest(path)


def test_missing_column(written, path):
    rewrite(path, table=written.table.drop_columns(["merged", "voxels"]))
    with pytest.raises(ManifestError, match="columns are missing: merged, voxels"):
        read_manifest(path)


@pytest.mark.parametrize("values", [["a", "b"], [1.5, None]])
def test_column_of_another_type(written, path, values):
    index = SCHEMA.get_field_index("hu_min")
    rewrite(path, table=written.table.set_column(index, "hu_min", pa.array(values)))
    with pytest.raises(ManifestError, match="not of the manifest's schema"):
        read_manifest(path)


def test_column_of_later_is_left_out(written, path):
    rewrite(path, table=written.table.append_column("later", pa.array([1, 2])))
    assert read_manifest(path).table.equals(written.table)


def test_finding_of_later_is_told(written):
    later = pa.array([[{"code": "later", "reason": ""}], []], SCHEMA.field("findings").type)
    index = SCHEMA.get_field_index("findings")
    table = written.table.set_column(index, SCHEMA.field("findings"), later)
    manifest = written.with_table(table)
    with pytest.raises(ManifestError, match=r"case btcv/1: unknown finding code 'later'"):
        manifest.case("btcv/1")
    with pytest.raises(ManifestError, match="unknown finding code"):
        list(manifest.cases())
    assert manifest.case("btcv/2").findings == ()


def test_unknown_case(written):
    with pytest.raises(ManifestError, match=r"no case 'btcv/3' among 2"):
        written.case("btcv/3")


# Paths.


def test_path_inside_the_folder(written, path):
    assert written.path("cases/a/image.nii") == path.parent / "cases/a/image.nii"


@pytest.mark.parametrize(
    "relative",
    [
        *("../image.nii", "cases/../../image.nii", "cases/../image.nii", ".."),
        *("/etc/passwd", "cases\\..\\image.nii", "", ".", "image\0.nii"),
    ],
)
def test_path_that_leaves_the_folder(written, relative):
    with pytest.raises(ManifestError, match="leaves the manifest's folder"):
        written.path(relative)


def test_absolute_path_into_the_folder_is_refused_too(written, path):
    with pytest.raises(ManifestError, match="leaves the manifest's folder"):
        written.path(str(path.parent / "image.nii"))


@pytest.mark.parametrize("target", ["..", "/etc", "loop"])
def test_link_that_leaves_the_folder(written, path, target):
    (path.parent / "loop").symlink_to(target)
    with pytest.raises(ManifestError, match="leaves the manifest's folder"):
        written.path("loop/passwd")


def test_link_within_the_folder_is_followed(written, path):
    (path.parent / "cases").mkdir()
    (path.parent / "same").symlink_to("cases")
    assert written.path("same/image.nii").parent.samefile(path.parent / "cases")


@pytest.mark.usefixtures("written")
def test_folder_may_be_reached_by_a_link(path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "link"
    elsewhere.symlink_to(path.parent)
    assert read_manifest(elsewhere).path("a.nii") == elsewhere / "a.nii"


def test_label_space_of_the_users_own_travels_with_the_manifest(make_case, make_manifest, path):
    space = load_label_space("pancreas_tumour").model_copy(update={"name": "mine"})
    write_manifest(make_manifest([make_case(space=space)], space=space, folder=path.parent), path)
    assert read_manifest(path).label_space == space


def test_an_older_manifest_without_the_columns_by_class_is_read(written, path):
    table = pq.read_table(path)
    older = table.drop_columns(list(BY_CLASS))
    pq.write_table(older, path)
    read = read_manifest(path)
    assert read.table.schema.equals(SCHEMA)
    assert list(read.cases()) == list(written.cases())
    assert all(case.suspicion is None for case in read.cases())
    assert validate(path, files=False) == []
    with select_cases(path, "suspicion is null") as cases:
        assert len(cases.ids()) == 2
        assert summarise(cases).suspected == ()
    assert [len(part) for part in read_row_groups(path)] == [2]


def test_labels_are_ranked_by_suspicion(make_case, make_manifest, path):
    odd = (None, 0.2, 1.5, None, 3.0, 0.9)
    offsets = (None, (0.0, 3.0, -6.0), None, None, None, None)
    cases = [
        make_case("btcv/1", suspicion=odd, border_offset_mm=offsets),
        make_case("btcv/2", suspicion=(None, 2.0, *[None] * 4)),
        make_case("btcv/3"),
    ]
    write_manifest(make_manifest(cases, folder=path.parent), path)
    assert list(read_manifest(path).cases()) == cases
    assert validate(path, files=False) == []
    with select_cases(path, "list_max(suspicion) >= 1") as chosen:
        assert chosen.ids() == ["btcv/1", "btcv/2"]
        ranked = [(s.case_id, s.name, s.suspicion) for s in summarise(chosen).suspected]
    assert ranked == [
        ("btcv/1", "left_kidney", 3.0),
        ("btcv/2", "liver", 2.0),
        ("btcv/1", "spleen", 1.5),
    ]


def test_cases_by_columns_are_those_of_the_rows(make_case, make_manifest, monkeypatch):
    monkeypatch.setattr(manifest_module, "ROWS_IN_GROUP", 2)
    cases = [
        make_case("btcv/1", split=None, findings=(Finding("single_kidney", "left"),)),
        make_case("btcv/2", related=("btcv/1", "btcv/3"), suspicion=(None, 0.5, float("inf"))),
        make_case("btcv/3", place_in_body=(None, (0.1, 0.2, 0.3), None), cut_by_scan=(True, None)),
        make_case("msd_liver/1", blocks=[["liver", "liver_tumour"]], fold=3, suspicion=()),
        make_case("msd_liver/2", annotated=(), voxels=(1, 2, 3, 4, 5, 6)),
    ]
    manifest = make_manifest(cases)
    found = list(manifest.cases())
    assert found == [Case.from_row(row) for row in manifest.table.to_pylist()] == cases
    for one, other in zip(found, cases, strict=True):
        assert repr(one) == repr(other)
        assert hash(one) == hash(other)
    assert found[0].spacing_mm is found[4].spacing_mm  # what is the same is kept once


def test_of_columns_that_were_not_read_a_case_knows_nothing(make_case, make_manifest):
    manifest = make_manifest([make_case("btcv/1")])
    (case,) = manifest.with_table(manifest.table.select(["case_id", "merged"])).cases()
    assert case.merged == next(manifest.cases()).merged
    with pytest.raises(AttributeError, match="voxels"):
        _ = case.voxels


def test_a_column_s_bytes_are_those_of_its_values(make_case, make_manifest, tmp_path):
    path = tmp_path / "manifest.parquet"
    case = make_case("btcv/1", fingerprint="0123456789" * 1000)
    write_manifest(make_manifest([case], folder=tmp_path), path)
    assert 10_000 <= column_bytes(path, "fingerprint") < 30_000
    assert column_bytes(path, "no column") == 0
