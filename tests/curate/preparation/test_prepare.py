"""The line from archives to a manifest, walked on the phantom's archives."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import curate.commands
from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.recipes.schema import PAPER, load_recipe, shipped_recipes
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.table.manifest import read_manifest
from manifests.table.validate import validate

SPACING_MM = (6.0, 6.0, 6.0)
ALL = PAPER
CASES = {"btcv": 2, "msd_liver": 3, "msd_pancreas": 2, "msd_spleen": 2, "kits19": 2}
COARSE = {"spacing_mm": (6.0, 6.0)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_phantom_archives(folder, seed=1, cases=CASES, **COARSE)
    return folder


def request_for(raw, out, *, names=ALL, space="abdomen5", limit=None):
    recipes = tuple(load_recipe(name) for name in names)
    return PrepareRequest(recipes, raw, Target(load_label_space(space), SPACING_MM, out), limit)


@pytest.fixture(scope="module")
def report(raw, tmp_path_factory):
    return prepare(request_for(raw, tmp_path_factory.mktemp("out")), workers=2)


def test_every_recipes_archive_is_prepared_whole(report):
    assert report.rejected == ()
    assert report.made == len(report.manifest) == sum(CASES.values())
    found = [case.dataset for case in report.manifest.cases()]
    assert {name: found.count(name) for name in CASES} == CASES
    assert validate(report.path, hashes=True) == []


@pytest.mark.parametrize(
    ("dataset", "merged"),
    [
        ("btcv", (0, 1, 2, 3, 4, 5)),
        ("msd_liver", (0, 1, 0, 0, 0, 0)),
        ("msd_spleen", (0, 0, 2, 0, 0, 0)),
        ("msd_pancreas", (0, 0, 0, 3, 0, 0)),
        ("kits19", (0, 0, 0, 0, 4, 5)),
    ],
)
def test_availability_and_presence(report, dataset, merged):
    for case in (c for c in report.manifest.cases() if c.dataset == dataset):
        assert case.merged == merged
        present = [n for n, voxels in enumerate(case.voxels) if voxels]
        assert set(present) == set(merged)


def test_harmonised_files_are_what_the_design_says(report):
    for case in report.manifest.cases():
        image = sitk.ReadImage(str(report.manifest.path(case.image)))
        label = sitk.ReadImage(str(report.manifest.path(case.label)))
        assert image.GetPixelID() == sitk.sitkInt16
        assert label.GetPixelID() == sitk.sitkUInt8
        assert (image.GetMetaData("intent_code"), label.GetMetaData("intent_code")) == ("0", "1002")
        for volume in (image, label):
            assert volume.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
            assert volume.GetSpacing() == SPACING_MM
            assert volume.GetSize() == case.size
        voxels = sitk.GetArrayFromImage(label)
        assert set(np.unique(voxels)) <= set(case.merged)
        assert np.bincount(voxels.ravel(), minlength=6).tolist() == list(case.voxels)


def test_the_left_kidney_is_on_the_patients_left(report):
    for case in (c for c in report.manifest.cases() if c.dataset in ("btcv", "kits19")):
        label = sitk.ReadImage(str(report.manifest.path(case.label)))
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(label)
        assert shapes.GetCentroid(4)[0] > shapes.GetCentroid(5)[0]


def test_each_dataset_is_split(report):
    splits = {(case.dataset, case.split) for case in report.manifest.cases()}
    assert ("msd_liver", "test") in splits
    assert {split for _, split in splits} == {"train", "validation", "test"}


def test_running_again_does_nothing_and_gives_the_same_manifest(raw, report):
    before = report.path.read_bytes()
    again = prepare(request_for(raw, report.path.parent), workers=1)
    assert again.made == 0
    assert report.path.read_bytes() == before


def test_two_runs_give_the_same_bytes(raw, report, tmp_path):
    other = prepare(request_for(raw, tmp_path), workers=1)
    assert other.path.read_bytes() == report.path.read_bytes()


def test_only_what_is_missing_is_made_again(raw, tmp_path):
    first = prepare(request_for(raw, tmp_path, names=("msd_liver",)), workers=1)
    whole = first.path.read_bytes()
    deleted, truncated, _ = (tmp_path / "cases" / c.case_id for c in first.manifest.cases())
    (deleted / "label.nii").unlink()
    with (truncated / "image.nii").open("r+b") as file:
        file.truncate(1000)
    again = prepare(request_for(raw, tmp_path, names=("msd_liver",)), workers=1)
    assert again.made == 2
    assert again.path.read_bytes() == whole


def test_another_spacing_or_label_space_makes_every_case_again(raw, tmp_path):
    request = request_for(raw, tmp_path, names=("btcv",))
    assert prepare(request, workers=1).made == 2
    other = replace(request, target=replace(request.target, spacing_mm=(8.0, 8.0, 8.0)))
    assert prepare(other, workers=1).made == 2
    thirteen = request_for(raw, tmp_path, names=("btcv",), space="abdomen13")
    made = prepare(thirteen, workers=1)
    assert made.made == 2
    assert next(made.manifest.cases()).merged == tuple(range(14))


def test_another_interpolation_makes_every_case_again_and_is_told(raw, tmp_path):
    request = request_for(raw, tmp_path, names=("btcv",))
    request = replace(request, target=replace(request.target, spacing_mm=(7.0, 7.0, 7.0)))
    linear = prepare(request, workers=1)
    cubic = replace(request, target=replace(request.target, interpolation="cubic"))
    report = prepare(cubic, workers=1)
    assert (linear.made, report.made, prepare(cubic, workers=1).made) == (2, 2, 0)
    told = [r.manifest.settings["prepare"]["interpolation"] for r in (linear, report)]
    assert told == ["linear", "cubic"]
    for old, new in zip(linear.manifest.cases(), report.manifest.cases(), strict=True):
        assert old.image_sha256 != new.image_sha256
        assert old.label_sha256 == new.label_sha256


def test_datasets_can_be_added_one_by_one(raw, tmp_path):
    prepare(request_for(raw, tmp_path, names=("btcv",)), workers=1)
    both = prepare(request_for(raw, tmp_path, names=("msd_spleen",)), workers=1)
    assert [c.dataset for c in both.manifest.cases()] == ["btcv"] * 2 + ["msd_spleen"] * 2


def test_the_split_that_a_user_chose_is_kept(raw, tmp_path):
    from manifests.table.manifest import write_manifest

    first = prepare(request_for(raw, tmp_path, names=("msd_liver",)), workers=1)
    chosen = assign_splits(first.manifest, SplitRequest(test=2, validation=0, seed=5))
    write_manifest(chosen, first.path)
    again = prepare(request_for(raw, tmp_path, names=("msd_liver",)), workers=1)
    assert [c.split for c in again.manifest.cases()] == [c.split for c in chosen.cases()]
    fewer = prepare(request_for(raw, tmp_path, names=("msd_liver",), limit=1), workers=1)
    (one,) = fewer.manifest.cases()
    assert one.split == chosen.case(one.case_id).split
    back = prepare(request_for(raw, tmp_path, names=("msd_liver",)), workers=1)
    assert back.manifest.table == chosen.table
    assert back.manifest.settings == again.manifest.settings


def unpacked_liver(raw, folder):
    """The liver's archive, unpacked for a test to spoil."""
    from manifests.ground.unpack import unpack

    unpack(raw / "Task03_Liver.tar", folder)
    return folder / "Task03_Liver"


def test_a_bad_case_is_set_aside_and_the_others_go_on(raw, tmp_path):
    root = unpacked_liver(raw, tmp_path / "raw")
    names = [e["image"] for e in json.loads((root / "dataset.json").read_text())["training"]]
    (root / names[0]).write_bytes(b"no image")
    (root / names[1]).unlink()
    runner = CliRunner()
    spacing = ["--spacing", *map(str, SPACING_MM)]
    arguments = [
        "prepare",
        "msd_liver",
        "--raw",
        str(tmp_path / "raw"),
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "1",
        *spacing,
    ]
    result = runner.invoke(curate.commands.app, arguments)
    assert result.exit_code == 3, result.output
    with (tmp_path / "out" / "rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["code"] for row in rows] == ["unreadable", "file_missing"]
    assert names[0].split("/")[-1] in rows[0]["reason"]
    assert len(read_manifest(tmp_path / "out")) == 1


def test_dry_run_writes_nothing(raw, tmp_path):
    out = tmp_path / "out"
    arguments = ["prepare", "--raw", str(raw), "--out", str(out), "--dry-run"]
    result = CliRunner().invoke(curate.commands.app, arguments)
    assert result.exit_code == 0
    assert "archive" in result.output
    assert not out.exists()


def test_plan_counts_what_is_there_and_what_is_not(raw, report):
    planned = plan(request_for(raw, report.path.parent))
    assert [(len(p.done), len(p.open)) for p in planned] == [(CASES[name], 0) for name in PAPER]


def test_one_ct_under_two_names_is_noted(raw, tmp_path):
    root = unpacked_liver(raw, tmp_path / "raw")
    first, second, _ = json.loads((root / "dataset.json").read_text())["training"]
    for what in ("image", "label"):
        (root / second[what]).write_bytes((root / first[what]).read_bytes())
    made = prepare(request_for(tmp_path / "raw", tmp_path / "out", names=("msd_liver",)), workers=1)
    codes = [[f.code for f in case.findings] for case in made.manifest.cases()]
    assert [("duplicate_image" in found) for found in codes] == [True, True, False]
    one, other, third = made.manifest.cases()
    assert one.split == other.split
    assert (one.subject_id, one.related) == (other.subject_id, (other.case_id,))
    assert third.related == ()


def test_recipe_commands():
    runner = CliRunner()
    listed = runner.invoke(curate.commands.app, ["recipe", "list"])
    assert all(name in listed.output for name in shipped_recipes())
    checked = runner.invoke(curate.commands.app, ["recipe", "check", "msd_liver"])
    assert "liver | background + spleen" in checked.output
