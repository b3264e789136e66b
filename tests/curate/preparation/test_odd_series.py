"""Series of a tilted gantry and of two distances, from DICOM to harmonised cases."""

import numpy as np
import pytest

from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.preparation.settled import settled_repairs
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError
from manifests.volumes.readers.repairs import Repairs
from manifests.volumes.volume import read_volume
from tests.made_dicom import CENTRE_MM, RADIUS_MM, TWO, write_ball

RECIPE = """
name = "odd"
title = "Odd series"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "made here"
homepage = "https://example.org"
split_kidneys = false

[layout]
kind = "pairs"
roots = ["odd"]
case = "[a-z]+"
images = ["{case}/image"]
labels = ["{case}/label"]

[values]
1 = ["liver", "liver_tumour"]
"""


def drawn(hu):
    return (hu > 0).astype(float)


@pytest.fixture
def raw(tmp_path):
    for name, degrees, depths in (
        ("head", 15, np.arange(0, 44, 2.0)),
        ("foot", -15, np.arange(0, 44, 2.0)),
        ("two", 0, TWO),
    ):
        write_ball(tmp_path / "odd" / name / "image", degrees, depths)
        # a mask of the slices as they are
        write_ball(tmp_path / "odd" / name / "label", degrees, depths, pixels=drawn)
    (tmp_path / "odd.toml").write_text(RECIPE)
    return tmp_path


def run(raw, repairs, name="odd"):
    target = Target(load_label_space("abdomen5"), (1.0, 1.0, 1.0), raw / "out", repairs=repairs)
    return prepare(PrepareRequest((load_recipe(raw / f"{name}.toml"),), raw, target), workers=1)


def test_odd_series_become_cases_with_image_and_label_in_their_place(raw):
    report = run(raw, Repairs(resample_uneven=True))
    assert report.rejected == ()
    manifest = report.manifest
    assert manifest.settings["prepare"]["resample_uneven"] is True
    codes = {c.case_id: {f.code for f in c.findings} for c in manifest.cases()}
    assert "gantry_tilt_straightened" in codes["odd/head"] & codes["odd/foot"]
    assert "slice_distances_resampled" in codes["odd/two"]
    for case in manifest.cases():
        assert case.volume_ml[1] == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.08)
        image, label = (read_volume(manifest.path(p)) for p in (case.image, case.label))
        centre = label.grid.position_mm(np.argwhere(label.voxels == 1)[:, ::-1]).mean(axis=0)
        np.testing.assert_allclose(centre, CENTRE_MM, atol=0.3)
        assert np.mean((label.voxels == 1) != (image.voxels > 0)) < 0.01


def test_what_is_not_allowed_is_set_aside_and_leaves_the_manifest(raw):
    report = run(raw, Repairs())
    assert [r.finding.code for r in report.rejected] == ["slice_distances_differ"]
    assert report.made == 2
    report = run(raw, Repairs(resample_uneven=True))
    assert report.made == 1  # the others stand
    assert settled_repairs(raw / "out") == Repairs(resample_uneven=True)
    assert settled_repairs(raw / "out", refuse_tilt=True).straighten_tilt is False
    report = run(raw, Repairs(straighten_tilt=False, resample_uneven=True))
    assert [c.case_id for c in report.manifest.cases()] == ["odd/two"]
    assert {r.finding.code for r in report.rejected} == {"dicom_gantry_tilt"}
    with pytest.raises(MarginaliaError, match="none of 3 cases"):
        run(raw, Repairs(straighten_tilt=False))


def test_what_is_not_allowed_leaves_with_a_run_of_another_dataset(raw):
    run(raw, Repairs(resample_uneven=True))
    elsewhere = raw / "even.toml"  # another dataset; this one is not prepared now
    elsewhere.write_text(RECIPE.replace('"odd"', '"even"'))
    write_ball(raw / "even" / "a" / "image", 0, np.arange(0, 44, 2.0))
    write_ball(raw / "even" / "a" / "label", 0, np.arange(0, 44, 2.0), pixels=drawn)
    report = run(raw, Repairs(), "even")
    assert [c.case_id for c in report.manifest.cases()] == ["even/a", "odd/foot", "odd/head"]
    assert "--resample-uneven" in report.remark
    assert "with these: odd/two\n" in report.remark
