"""Files of fingerprints, and the pairs that are found in them."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk

from manifests.ground.errors import MarginaliaError
from tests.train.provenance.test_provenance import marginalia, scan_of
from train.provenance.fingerprint_table import read_fingerprints, write_fingerprints


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
