"""The main job on two real patients: prepare, train, predict back onto the scanner's grid."""

import json
from itertools import chain

import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.table.manifest import read_manifest
from manifests.table.validate import validate
from train.checkpoints.restoration import load_model
from train.prediction.predict import predict_image
from train.prediction.sliding_window import Predictor
from train.scoring.metrics import dice
from train.settings import resolve
from train.training.loop import train

SPACING_MM = (3.0, 3.0, 3.0)
ABDOMEN5 = load_label_space("abdomen5")

# TotalSegmentator's names of what abdomen5 holds. It labels a tumour as its organ.
NAMES = {
    "liver": ["liver", "liver_tumour"],
    "spleen": ["spleen"],
    "pancreas": ["pancreas", "pancreas_tumour"],
    "kidney_left": ["left_kidney", "left_kidney_tumour"],
    "kidney_right": ["right_kidney", "right_kidney_tumour"],
}

RECIPE = """
name = "{name}"
title = "Test data of TotalSegmentator"
version = "1"
licence = "Apache-2.0"
commercial_use = true
citation = "Wasserthal et al., Radiology: Artificial Intelligence 2023"

[layout]
kind = "pairs"
roots = ["{name}"]
case = '\\w+'
images = ["{{case}}/image.nii.gz"]
labels = ["{{case}}/label.nii.gz"]

[values]
{values}

{structures}
"""


def write_recipe(folder, name, values):
    """A recipe in which every structure that TotalSegmentator names has its own value."""
    used = set(chain.from_iterable(NAMES.values()))
    declared = [s for structures in values.values() for s in structures if s not in used]
    path = folder / f"{name}.toml"
    path.write_text(
        RECIPE.format(
            name=name,
            values="\n".join(f"{v} = {json.dumps(s)}" for v, s in values.items()),
            structures="\n".join(f"[structures.{s}]" for s in declared),
        )
    )
    return load_recipe(path)


def values_of(labels_json):
    labels = json.loads(labels_json.read_text())
    return {int(v): NAMES.get(n, [f"ts_{n.lower()}"]) for v, n in labels.items()}


@pytest.fixture(scope="module")
def raw(shared_data, tmp_path_factory):
    """The fully labelled patient as it came, and the other one with only its liver labelled."""
    folder, source = tmp_path_factory.mktemp("raw"), shared_data / "totalsegmentator"
    full = folder / "ts_full"
    full.mkdir()
    (full / "example_ct").symlink_to(source / "example_ct")
    liver = folder / "ts_liver" / "example_ct_dicom"
    liver.mkdir(parents=True)
    (liver / "image.nii.gz").symlink_to(source / "example_ct_dicom" / "image.nii.gz")
    label = sitk.ReadImage(str(source / "example_ct_dicom" / "label.nii.gz"))
    sitk.WriteImage(label == 5, str(liver / "label.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def recipes(shared_data, raw):
    labels_json = shared_data / "totalsegmentator" / "example_ct" / "labels.json"
    return (
        write_recipe(raw, "ts_full", values_of(labels_json)),
        write_recipe(raw, "ts_liver", {1: NAMES["liver"]}),
    )


@pytest.fixture(scope="module")
def report(raw, recipes, tmp_path_factory):
    target = Target(ABDOMEN5, SPACING_MM, tmp_path_factory.mktemp("out"))
    return prepare(PrepareRequest(recipes, raw, target), workers=2)


def test_both_cases_are_in_the_manifest_with_what_they_annotate(report):
    assert report.rejected == ()
    full, liver = read_manifest(report.path).cases()
    assert (full.case_id, liver.case_id) == ("ts_full/example_ct", "ts_liver/example_ct_dicom")
    assert full.merged == (0, 1, 2, 3, 4, 5)
    assert full.annotated == ABDOMEN5.names[1:]
    assert full.source_orientation == "RAS"
    assert [f.code for f in full.findings] == ["padding_clamped"]  # it was resampled with splines
    assert liver.merged == (0, 1, 0, 0, 0, 0)
    assert liver.annotated == ("liver",)
    assert liver.source_orientation == "LAS"
    assert [f.code for f in liver.findings] == ["axes_left_handed"]
    assert validate(report.path, hashes=True) == []


def organs(image, ids):
    """Centroid in LPS mm and volume in mL of each id."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.Cast(image, sitk.sitkUInt16))
    return {
        i: (np.array(shapes.GetCentroid(i)), shapes.GetPhysicalSize(i) / 1000)
        for i in ids
        if shapes.HasLabel(i)
    }


def test_organs_stay_where_they_are_and_as_large_as_they_are(shared_data, report):
    source = shared_data / "totalsegmentator" / "example_ct"
    values = {v: n for v, n in values_of(source / "labels.json").items() if n in NAMES.values()}
    before = organs(sitk.ReadImage(str(source / "label.nii.gz")), values)
    written = report.manifest.path(report.manifest.case("ts_full/example_ct").label)
    after = organs(sitk.ReadImage(str(written)), range(1, 6))
    assert len(after) == 5
    for value, structures in values.items():
        centroid, volume_ml = after[ABDOMEN5.class_of[structures[0]]]
        assert np.abs(centroid - before[value][0]).max() < max(SPACING_MM)
        assert volume_ml == pytest.approx(before[value][1], rel=0.03)


def test_the_written_image_is_the_scan(shared_data, report):
    """Where the two grids have a voxel centre in common, they have the same intensity."""
    source = sitk.ReadImage(str(shared_data / "totalsegmentator/example_ct/image.nii.gz"))
    written = sitk.ReadImage(
        str(report.manifest.path(report.manifest.case("ts_full/example_ct").image))
    )
    back = sitk.Resample(written, source, sitk.Transform(), sitk.sitkNearestNeighbor)
    here, there = map(sitk.GetArrayFromImage, (source, back))
    here = np.maximum(here, -1024)  # below air is padding
    assert np.abs(here[1:-1, 1:-1, 1:-1] - there[1:-1, 1:-1, 1:-1]).max() <= 1


@pytest.mark.slow
def test_a_tiny_network_learns_both_and_predicts_on_the_scanners_grid(
    shared_data, raw, recipes, tmp_path
):
    """A few hundred steps on a full and a liver-only patient, then back onto both scans."""
    # Coarse, so that the tiny network's patch holds both organs.
    target = Target(ABDOMEN5, (5.0, 5.0, 5.0), tmp_path / "prepared")
    prepared = prepare(PrepareRequest(recipes, raw, target), workers=2).manifest
    manifest = assign_splits(prepared, SplitRequest(test=0, validation=0))
    settings = resolve("tiny", ["stage_epochs=26,6", "patches_per_dataset=24"])
    train(manifest, tmp_path / "run", settings)
    model = load_model(tmp_path / "run", which="last")
    source = shared_data / "totalsegmentator"
    for patient, organs_there in (
        ("example_ct", ("liver", "spleen")),
        ("example_ct_dicom", ("liver",)),
    ):
        scan = sitk.ReadImage(str(source / patient / "image.nii.gz"))
        predicted = predict_image(Predictor(model, "cpu"), scan)
        for geometry in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(predicted, geometry)() == getattr(scan, geometry)()
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(source / patient / "label.nii.gz")))
        found = sitk.GetArrayFromImage(predicted)
        values = values_of(source / patient / "labels.json")
        for organ in organs_there:
            value = next(v for v, n in values.items() if n[0] == organ)
            score = dice(found == ABDOMEN5.class_of[organ], truth == value)
            assert score >= 0.8, f"{organ} in {patient}: {score:.3f}"
