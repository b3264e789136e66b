"""Files of fingerprints, and the pairs that are found in them."""

import csv
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk

from manifests.ground.errors import MarginaliaError
from tests.made_dicom import write_tagged
from tests.train.provenance.test_provenance import marginalia, scan_of
from train.provenance.archived_scans import scans_of_archive
from train.provenance.fingerprint_table import read_fingerprints, write_fingerprints
from train.provenance.matched_scans import match_scans


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name in ("p", "q", "r"):
        sitk.WriteImage(scan_of(name), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def prints(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("prints") / "a.parquet"
    marginalia("fingerprint", folder, "-o", path, "--jobs", 1)
    return path


def test_a_file_has_a_row_for_each_scan_with_its_header(prints):
    rows = {row["name"]: row for row in read_fingerprints(prints)}
    assert rows.keys() == {"p", "q", "r"}
    assert rows["p"]["size"] == [60, 60, 60]
    assert rows["p"]["spacing_mm"] == [2.0, 2.0, 2.0]
    assert rows["p"]["orientation"] == "LPS"


def test_again_only_what_changed_is_computed(folder, prints, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(prints.read_bytes())
    more = tmp_path / "more"
    more.mkdir()
    for scan in folder.iterdir():
        (more / scan.name).hardlink_to(scan)
    (more / "bad.nii").write_bytes(b"no image")
    sitk.WriteImage(scan_of("new"), more / "new.nii.gz")
    (more / "p.nii.gz").unlink()
    done = write_fingerprints(more, path)
    assert (done.rows, done.made, list(done.failures)) == (3, 1, ["bad"]), done.failures
    assert pq.read_table(path)["name"].to_pylist() == ["new", "q", "r"]
    with pytest.raises(MarginaliaError, match=r"called \*\.parquet"):
        write_fingerprints(folder, tmp_path / "a.csv")


def test_a_file_without_scans_has_no_pairs_with_another(prints):
    rows = [row | {"name": name} for row in read_fingerprints(prints)[:1] for name in "xy"]
    assert len([*match_scans(rows, rows)]) == 1
    assert [*match_scans([], rows)] == [*match_scans(rows, [])] == []


def test_pairs_are_found_turned_shifted_cut_and_renamed(prints, tmp_path):
    others = tmp_path / "others"
    others.mkdir()
    flipped = sitk.Flip(scan_of("p"), (True, False, False))
    sitk.WriteImage(flipped, others / "mirror.nii.gz")
    cut = scan_of("q")[10:, 4:, :]
    cut.SetOrigin((0, 0, 0))
    cut.SetSpacing((1, 1, 1))
    sitk.WriteImage(cut, others / "cut.nii.gz")
    sitk.WriteImage(scan_of("other"), others / "other.nii.gz")
    path, table = tmp_path / "b.parquet", tmp_path / "pairs.csv"
    marginalia("fingerprint", others, "-o", path, "--jobs", 1)
    assert "2 pairs" in marginalia("match", prints, path, "--csv", table)
    with table.open(newline="") as file:
        rows = {(row["a"], row["b"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {("p", "mirror"), ("q", "cut")}
    mirror, part = rows["p", "mirror"], rows["q", "cut"]
    assert (mirror["shows"], mirror["turn"], mirror["shift_mm"]) == ("whole", "-x y z", "118 0 0")
    assert (part["shows"], part["turn"], part["shift_mm"]) == ("part", "as it is", "-10 -4 0")
    assert float(part["share_of_b"]) == 1
    assert np.isclose(float(part["share_of_a"]), 50 * 56 / 3600, atol=1e-3)
    assert part["header_b"] == "50x56x60 1x1x1 mm LPS"
    assert "0 pairs" in marginalia("match", prints, prints)


def test_another_parquet_file_is_refused(manifest_path, prints, tmp_path):
    odd = tmp_path / "odd.parquet"
    pq.write_table(pq.read_table(prints).drop_columns("size"), odd)
    with pytest.raises(MarginaliaError, match="columns are missing: size"):
        read_fingerprints(odd)
    assert read_fingerprints(manifest_path) == []  # its cases have none


# Archives and clusters.


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """The scans as a dataset is published: among other files, one of them as DICOM."""
    top = tmp_path_factory.mktemp("published")
    (top / "set" / "images").mkdir(parents=True)
    for name in ("p", "q"):
        (top / "set" / "images" / f"{name}.nii.gz").write_bytes(
            (folder / f"{name}.nii.gz").read_bytes()
        )
    write_series(top / "set" / "r", scan_of("r"))
    (top / "set" / "readme.md").write_text("no scan")
    (top / "set" / "r" / "notes.txt").write_text("no slice")
    return top


def write_series(folder, image, uid="1.2.826.0.1.3680043.8.498.7"):
    folder.mkdir()
    spacing = image.GetSpacing()
    for n in range(image.GetSize()[2]):
        piece = image[:, :, n]
        for tag, value in (
            ("0008|0016", "1.2.840.10008.5.1.4.1.1.2"),
            ("0008|0060", "CT"),
            ("0020|000e", uid),
            ("0020|0032", f"0\\0\\{n * spacing[2]}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0020|0013", str(n)),
            ("0028|1052", "0"),
            ("0028|1053", "1"),
        ):
            piece.SetMetaData(tag, value)
        write_tagged(piece, folder / f"IM{n:03}.dcm")
        (folder / f"IM{n:03}.dcm").rename(folder / f"IM{n:03}")


@pytest.mark.parametrize(("kind", "jobs"), [("zip", 1), ("gztar", 1), ("tar", 2)])
def test_an_archive_has_the_scans_of_its_folder(published, tmp_path, kind, jobs):
    archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, published))
    whole, path = tmp_path / "whole.parquet", tmp_path / "a.parquet"
    assert write_fingerprints(published, whole).failures == {}
    marginalia("fingerprint", archive, "-o", path, "--jobs", jobs)
    rows, expected = (
        {row["name"]: row["fingerprint"] for row in read_fingerprints(p)} for p in (path, whole)
    )
    assert set(rows) == {"set/images/p", "set/images/q", "set/r"}
    assert rows == expected
    assert write_fingerprints(archive, path).made == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [archive.name, "a.parquet", "whole.parquet"]
    )


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_slices_of_a_series_need_not_stand_together(published, tmp_path, kind):
    published = shutil.copytree(published, tmp_path / "published")
    write_series(published / "s", scan_of("s"), uid="1.2.826.0.1.3680043.8.498.8")
    files = sorted((f for f in published.rglob("*") if f.is_file()), key=lambda f: f.name)
    archive = tmp_path / f"mixed.{kind}"
    opened = zipfile.ZipFile(archive, "w") if kind == "zip" else tarfile.open(archive, "w")  # noqa: SIM115
    with opened as file:
        add = file.write if kind == "zip" else file.add
        for path in files:
            add(path, path.relative_to(published).as_posix())
    done = write_fingerprints(archive, tmp_path / "a.parquet")
    whole = write_fingerprints(published, tmp_path / "b.parquet")
    assert (done.made, done.failures) == (whole.made, {}) == (4, {})
    found, expected = (read_fingerprints(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert {r["name"]: r["fingerprint"] for r in found} == {
        r["name"]: r["fingerprint"] for r in expected
    }


def test_scans_are_taken_out_a_few_at_a_time(published, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", published))
    seen = []
    with scans_of_archive(archive, tmp_path / "a", {"set/images/q"}, at_a_time=1) as batches:
        for batch in batches:
            there = [p for p in tmp_path.glob(".a.*/*") if p.exists()]
            seen.append([name for name, _ in batch])
            assert {place for _, place in batch} <= set(there)
            assert len(there) <= 2  # and the one that comes next
    assert sorted(seen) == [["set/images/p"], ["set/r"]]


def test_an_entry_says_nothing_of_where_it_is_written(folder, tmp_path):
    archive, path = tmp_path / "odd.zip", tmp_path / "out" / "a.parquet"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(folder / "p.nii.gz", "../../p.nii.gz")
        file.writestr("/bad.nii", b"no image")
    done = write_fingerprints(archive, path)
    assert (done.made, list(done.failures)) == (1, ["/bad"])
    assert {p.name for p in tmp_path.rglob("*")} == {"odd.zip", "out", "a.parquet"}
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(MarginaliaError, match=r"odd\.zip cannot be read"):
        write_fingerprints(archive, path)
    assert len(read_fingerprints(path)) == 1


def test_a_cluster_makes_the_same_fingerprints(folder, prints, tmp_path):
    pytest.importorskip("distributed")
    path = tmp_path / "a.parquet"
    marginalia("fingerprint", folder, "-o", path, "--jobs", 1, "--dask", "local")
    assert pq.read_table(path).equals(pq.read_table(prints))
