"""Cases that are left on their own voxels: `--spacing native`."""

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import curate.commands
from curate.cases.target import NATIVE, Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.preparation.settled import settled_target, spacing_of
from curate.recipes.schema import load_recipe
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError, TrainingError
from manifests.table.validate import validate
from manifests.volumes.volume import read_volume
from tests.curate.defects import AFFINE, ct, label, write_case
from tests.oriented import oriented
from train.planning.plan import plan_training
from train.scoring.label_mapping import identity_mapping
from train.scoring.label_maps import read_label_map
from train.settings import resolve

RECIPE = """
name = "odd"
title = "Native voxels"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "made here"
homepage = "https://example.org"

[layout]
kind = "pairs"
roots = ["odd"]
case = "[a-z]+"
images = ["{case}/image.nii.gz"]
labels = ["{case}/label.nii.gz"]

[values]
1 = ["liver", "liver_tumour"]
2 = ["spleen"]
"""


def turned(degrees):
    """The header's axes turned about the patient's long axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn @ AFFINE


def stretched():
    return AFFINE @ np.diag([1.0, 1.0, 2.0, 1.0])


def prepared(root):
    target = Target(load_label_space("abdomen5"), NATIVE, root / "out")
    return prepare(PrepareRequest((load_recipe(root / "odd.toml"),), root, target), workers=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("native")
    places = {
        "plain": AFFINE,
        "thick": stretched(),
        "feet": AFFINE @ np.diag([1.0, -1.0, -1.0, 1.0]),  # stored another way round
        "rounded": turned(0.01),  # a header that lost digits
        "oblique": turned(10),
    }
    for name, affine in places.items():
        forms = {"sform": affine, "qform": affine}
        write_case(root / "odd" / name, in_image=forms, in_label=forms)
    (root / "odd.toml").write_text(RECIPE)
    report = prepared(root)
    assert report.rejected == ()
    return root


@pytest.fixture(scope="module")
def manifest(root):
    return prepared(root).manifest


def volumes(manifest, name):
    case = manifest.case(f"odd/{name}")
    return [read_volume(manifest.path(path)) for path in (case.image, case.label)]


@pytest.mark.parametrize("name", ["plain", "thick", "feet"])
def test_voxels_are_those_of_the_source_in_the_common_orientation(root, manifest, name):
    image, labels = volumes(manifest, name)
    for made, what in ((image, "image"), (labels, "label")):
        source = oriented(read_volume(root / "odd" / name / f"{what}.nii.gz"), "LPS")
        assert np.array_equal(made.voxels, source.voxels)
        assert made.grid.spacing_mm == pytest.approx(source.grid.spacing_mm)
        assert made.grid.origin_mm == pytest.approx(source.grid.origin_mm)


def test_a_direction_that_is_rounded_moves_no_voxel(manifest):
    image, labels = volumes(manifest, "rounded")
    assert np.array_equal(image.voxels, ct())
    assert np.array_equal(labels.voxels, label())
    assert image.grid.direction_lps == volumes(manifest, "plain")[0].grid.direction_lps


def test_an_oblique_scan_keeps_its_spacing_and_its_volumes(manifest):
    image, _ = volumes(manifest, "oblique")
    assert image.grid.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    case = manifest.case("odd/oblique")
    assert "axes_oblique" in {f.code for f in case.findings}
    assert case.volume_ml[1] == pytest.approx(60 * 0.8 * 0.8 * 2.5 / 1000, rel=0.03)


def test_the_manifest_is_valid_and_the_same_command_does_nothing_again(root, manifest):
    assert list(validate(root / "out")) == []
    assert manifest.settings["prepare"]["spacing_mm"] == NATIVE
    assert prepared(root).made == 0
    assert settled_target(root / "out").spacing_mm == NATIVE
    with pytest.raises(MarginaliaError, match=r"--spacing: .* have native, and 1\.5 1\.5 3\.0"):
        settled_target(root / "out", spacing_mm=(1.5, 1.5, 3.0))


def test_training_asks_for_one_spacing(manifest):
    settings = resolve("tiny", ["stage_epochs=0,1"])
    with pytest.raises(TrainingError, match=r"expected cases of one spacing.*--spacing native"):
        plan_training(assign_splits(manifest, SplitRequest(test=0, validation=0)), settings)


def test_a_label_map_on_the_scans_own_grid_is_the_cases(root, manifest):
    case = manifest.case("odd/feet")
    space = manifest.label_space
    scan = read_volume(root / "odd" / "feet" / "label.nii.gz")
    path = root / "feet.nii.gz"
    sitk.WriteImage(scan.grid.image(scan.voxels), path)
    classes, remark = read_label_map(path, case, identity_mapping(len(space)))
    assert remark == ""
    assert np.array_equal(classes, read_volume(manifest.path(case.label)).voxels)


@pytest.mark.parametrize(
    ("typed", "spacing"),
    [("native", NATIVE), ("3,3,4.5", (3, 3, 4.5)), ("3 3 4.5", (3, 3, 4.5))],
)
def test_a_spacing_is_read_as_it_is_typed(typed, spacing):
    assert spacing_of(typed) == spacing


@pytest.mark.parametrize("words", ["--spacing 3 3", "--spacing mine", "--spacing 3,3,3,3"])
def test_another_spacing_is_refused_in_words(tmp_path, words):
    command = ["prepare", "btcv", "--out", str(tmp_path), "--offline", *words.split()]
    result = CliRunner().invoke(curate.commands.app, command)
    assert "expected 3 numbers, as in --spacing 3 3 3" in str(result.exception)
