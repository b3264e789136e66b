"""A prepared folder of tiny cases: two datasets, three splits, two scans of one patient."""

from pathlib import Path

import pytest

from manifests.table.manifest import write_manifest

LIVER = (("liver", "liver_tumour"),)
# id, blocks (None: all), split, subject
CASES = (
    ("btcv/1", None, "train", "p1"),
    ("btcv/2", None, "validation", "p2"),
    ("btcv/3", None, "test", "p3"),
    ("lits/1", LIVER, "train", "p4"),
    ("lits/2", LIVER, "train", "p4"),
    ("lits/3", LIVER, "validation", "p5"),
)


@pytest.fixture
def prepared(tmp_path, make_case, make_manifest, write_volumes) -> Path:
    """The manifest of the folder."""
    folder = tmp_path / "prepared"
    cases = [
        write_volumes(make_case(name, blocks=blocks, split=split, subject_id=subject), folder)
        for name, blocks, split, subject in CASES
    ]
    write_manifest(make_manifest(cases, folder=folder), folder / "manifest.parquet")
    return folder / "manifest.parquet"
