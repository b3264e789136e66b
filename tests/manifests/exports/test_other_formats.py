"""MONAI's datalist, Croissant and BIDS: what each program reads of them."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from manifests.exports.bids import place_cases
from manifests.exports.selection import select_for_export
from manifests.ground.errors import ExportError
from manifests.table.manifest import Manifest, read_manifest, write_manifest
from marginalia import app


def export(*words):
    result = CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_monai_reads_the_datalist(prepared, tmp_path):
    from monai.data import load_decathlon_datalist

    path = tmp_path / "lists" / "datalist.json"
    export("monai", prepared, "--out", path)
    training = load_decathlon_datalist(path, True, "training")
    assert [(t["case_id"], t["fold"]) for t in training] == [
        ("btcv/1", 1),
        ("btcv/2", 0),
        ("lits/1", 1),
        ("lits/2", 1),
        ("lits/3", 0),
    ]
    assert training[2]["merged"] == [0, 1, 0, 0, 0, 0]
    assert training[2]["spacing_mm"] == [1.5, 1.5, 3.0]
    folder = prepared.parent / "cases" / "lits" / "1"
    for key in ("image", "label"):
        with open(training[2][key], "rb") as file:  # noqa: PTH123
            assert file.read() == (folder / f"{key}.nii").read_bytes()
    assert [t["case_id"] for t in load_decathlon_datalist(path, True, "testing")] == ["btcv/3"]


def test_monai_folds_can_be_asked_for(prepared, tmp_path):
    export("monai", prepared, "--out", tmp_path / "list.json", "--folds", 2)
    training = json.loads((tmp_path / "list.json").read_text())["training"]
    assert {t["fold"] for t in training} == {0, 1}
    fold_of = {t["case_id"]: t["fold"] for t in training}
    assert fold_of["lits/1"] == fold_of["lits/2"]  # one patient


def test_croissant_has_a_record_for_each_case(prepared):
    path = prepared.with_name("croissant.json")
    export("croissant", prepared, "--out", path, "--where", "dataset = 'lits'")
    document = json.loads(path.read_text())
    records = document["recordSet"][0]["data"]
    assert [r["cases/case_id"] for r in records] == ["lits/1", "lits/2", "lits/3"]
    assert records[0]["cases/merged"] == "[0, 1, 0, 0, 0, 0]"
    assert records[0]["cases/annotated"] == "liver"
    assert document["license"] == "CC-BY-4.0"


def test_mlcroissant_finds_no_fault(prepared):
    mlcroissant = pytest.importorskip("mlcroissant")
    path = prepared.with_name("croissant.json")
    export("croissant", prepared, "--out", path)
    dataset = mlcroissant.Dataset(jsonld=path)
    records = list(dataset.records("cases"))
    assert len(records) == 6
    assert records[0]["cases/case_id"] in (b"btcv/1", "btcv/1")


BIDS_NAME = re.compile(r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?_(ct|dseg)\.(nii\.gz|json)")


def test_bids_has_labels_and_who_labelled_what(prepared, tmp_path):
    out = tmp_path / "bids"
    export("bids", prepared, "--out", out)
    volumes = sorted(p.relative_to(out).as_posix() for p in out.rglob("*_dseg.nii.gz"))
    assert volumes == [
        "sub-p1/anat/sub-p1_dseg.nii.gz",
        "sub-p2/anat/sub-p2_dseg.nii.gz",
        "sub-p3/anat/sub-p3_dseg.nii.gz",
        "sub-p4/ses-1/anat/sub-p4_ses-1_dseg.nii.gz",
        "sub-p4/ses-2/anat/sub-p4_ses-2_dseg.nii.gz",
        "sub-p5/anat/sub-p5_dseg.nii.gz",
    ]
    assert all(BIDS_NAME.fullmatch(p.name) for p in out.rglob("sub-*_*"))
    with gzip.open(out / volumes[3]) as file:
        assert file.read() == (prepared.parent / "cases/lits/1/label.nii").read_bytes()
    rows = [r.split("\t") for r in (out / "participants.tsv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [f"sub-p{n}" for n in range(1, 6)]  # one row each
    assert rows[4][:3] == ["sub-p4", "lits", "train"]
    facts = json.loads((out / volumes[3].replace(".nii.gz", ".json")).read_text())
    assert (facts["Case"], facts["Merged"]) == ("lits/1", [0, 1, 0, 0, 0, 0])
    assert (out / facts["Sources"][0].removeprefix("bids::")).exists()
    assert (out / "dseg.tsv").read_text().splitlines()[:2] == [
        "index\tname\tcolor",
        "0\tbackground\t#000000",
    ]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_the_bids_validator_finds_no_error(prepared, tmp_path):
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside, os.environ.get("PATH", "")))
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    export("bids", prepared, "--out", tmp_path / "bids")
    done = subprocess.run([validator, "--json", tmp_path / "bids"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    issues = [i for i in found["issues"]["issues"] if i["severity"] == "error"]
    assert issues == []
    assert sorted(found["summary"]["subjects"]) == [f"p{n}" for n in range(1, 6)]


def test_the_value_of_ignored_voxels_is_listed_where_there_are_some(prepared, tmp_path):
    first, *others = read_manifest(prepared).cases()
    voxels = (first.voxels[0] - 5, *first.voxels[1:])
    partly = replace(first, voxels=voxels, ignored=5)
    manifest = read_manifest(prepared)
    cases = Manifest.of([partly, *others], manifest.label_space, folder=manifest.folder)
    write_manifest(cases, prepared)
    export("monai", prepared, "--out", tmp_path / "list.json")
    assert json.loads((tmp_path / "list.json").read_text())["labels"]["255"] == "ignored"
    export("bids", prepared, "--out", tmp_path / "bids")
    assert (tmp_path / "bids" / "dseg.tsv").read_text().endswith("255\tignored\t#808080\n")
    whole = "case_id <> 'btcv/1'"
    export("monai", prepared, "--out", tmp_path / "whole.json", "--where", whole)
    assert "255" not in json.loads((tmp_path / "whole.json").read_text())["labels"]


def test_patients_of_one_bids_name_are_refused(prepared, make_case):
    cases = select_for_export(prepared).cases
    twins = [
        type(cases[0])(make_case(f"a/{n}", subject_id=subject), f"a_{n}", *(cases[0].image,) * 2)
        for n, subject in enumerate(("p-1", "p1"))
    ]
    with pytest.raises(ExportError, match="both be called sub-p1"):
        place_cases(twins)


def test_a_second_call_leaves_what_is_there(prepared, tmp_path):
    for _ in range(2):
        export("bids", prepared, "--out", tmp_path / "bids")
        export("monai", prepared, "--out", tmp_path / "list.json")
