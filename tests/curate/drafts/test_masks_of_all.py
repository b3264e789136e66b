"""A folder in which the masks of all cases lie side by side, from its files to cases."""

import numpy as np
import pytest
from typer.testing import CliRunner

from curate.cases.target import Target
from curate.drafts.folder_survey import survey
from curate.drafts.masks_of_all import masks_of_all
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from marginalia import app
from tests.curate.published import ct, drawn, gzipped

pytestmark = pytest.mark.usefixtures("_in_this_process")


@pytest.mark.parametrize(
    ("files", "pattern", "names", "images"),
    [
        (
            ["img/Pat01.nii.gz", "seg/Pat01_liver.nii.gz", "seg/Pat01_left_kidney.nii.gz"],
            "seg/{case}_*.nii.gz",
            ("{case}_left_kidney.nii.gz", "{case}_liver.nii.gz"),
            "img/{case}.nii.gz",
        ),
        (
            ["Pat01_ct.nii.gz", "Pat01_liver.nii.gz", "Pat01_spleen.nii.gz"],
            "{case}_*.nii.gz",
            ("{case}_liver.nii.gz", "{case}_spleen.nii.gz"),
            "{case}_ct.nii.gz",
        ),
        (
            ["ct/7.nrrd", "masks/liver_7.nrrd", "masks/spleen-7.nrrd"],
            "masks/*{case}.nrrd",
            ("liver_{case}.nrrd", "spleen-{case}.nrrd"),
            "ct/{case}.nrrd",
        ),
    ],
)
def test_case_and_structure_are_read_off_the_names(files, pattern, names, images):
    found = masks_of_all(files)
    assert found
    assert (found.pattern, found.names) == (pattern, names)
    assert {image.pattern for image in found.images} == {images}


@pytest.mark.parametrize(
    "files",
    [
        ["imagesTr/liver_0.nii.gz", "imagesTr/liver_1.nii.gz"],  # the Decathlon's images
        ["masks/Pat01_liver.nii.gz"],
        ["a.nii.gz", "b.txt"],
    ],
)
def test_masks_without_images_are_none(files):
    assert masks_of_all(files) is None


@pytest.fixture
def ward(tmp_path, monkeypatch):
    """Three patients; one has no mask of the spleen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ward").mkdir()
    for number in (1, 2, 3):
        (tmp_path / f"ward/Pat{number:02d}_ct.nii.gz").write_bytes(ct(number))
        for name in ("liver", "spleen")[: 2 - number // 3]:
            mask = gzipped(drawn({1: name}))
            (tmp_path / f"ward/Pat{number:02d}_{name}.nii.gz").write_bytes(mask)
    return tmp_path / "ward"


def made(folder):
    target = Target(load_label_space("abdomen5"), (5.0, 5.0, 5.0), folder.parent / "out")
    recipe = load_recipe(folder.parent / "ward.toml")
    report = prepare(PrepareRequest((recipe,), folder.parent, target), workers=1)
    return report, {case.case_id: case for case in report.manifest.cases()}


def test_from_a_folder_to_cases(ward):
    found = survey(ward)
    assert (found.kind, len(found.cases), found.passed_over) == ("masks", 3, ())
    told = CliRunner().invoke(
        app, ["recipe", "new", "ward", "--missing-mask", "not_annotated"], catch_exceptions=False
    )
    assert "{case}_liver.nii.gz = liver + liver_tumour" in told.output
    report, cases = made(ward)
    assert report.rejected == ()
    assert [c.annotated for c in cases.values()] == [("liver", "spleen")] * 2 + [("liver",)]
    liver_ml = np.count_nonzero(drawn({1: "liver"})) * 5**3 / 1000
    assert [c.volume_ml[1] for c in cases.values()] == pytest.approx([liver_ml] * 3)
    assert made(ward)[0].made == 0
    (ward / "Pat01_liver.nii.gz").write_bytes(gzipped(drawn({1: "spleen"})))
    (ward / "Pat02_liver.nii.gz").touch()  # copied again
    report, again = made(ward)
    assert report.made == 1
    assert again["ward/Pat01"].volume_ml[1] != cases["ward/Pat01"].volume_ml[1]
