"""A dataset in which every case has another defect, prepared from end to end."""

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.table.manifest import read_manifest
from manifests.table.validate import validate
from tests.curate.defects import AFFINE, SPACING_MM, body, ct, label, write_case

RECIPE = """
name = "odd"
title = "Defects"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "pairs"
roots = ["odd"]
case = '\\w+'
images = ["{case}/image.nii.gz", "{case}/dicom"]
labels = ["{case}/label.nii.gz"]

[values]
1 = ["liver", "liver_tumour"]
2 = ["spleen"]
"""


def around_the_body(value):
    return np.where(body(), ct(), value).astype(np.float32)


def headers(affine):
    return {name: {"sform": affine, "qform": affine} for name in ("in_image", "in_label")}


def moved(millimetres):
    affine = AFFINE.copy()
    affine[2, 3] += millimetres
    return affine


# Each with the code of its finding; the voxels of the harmonised case are those of the good one.
KEPT = {
    "nan": ("nonfinite_replaced", {"image": around_the_body(np.nan)}),
    "padded": ("padding_clamped", {"image": around_the_body(-3024)}),
    "offset": ("intensity_offset", {"image": (ct() + 1024).astype(np.uint16)}),
    "wrapped": ("intensity_wrapped", {"image": ct().view(np.uint16)}),
    "rounded": ("grid_rounding", {"in_label": {"sform": moved(0.01), "qform": moved(0.01)}}),
    "floats": ("label_rounded", {"label_voxels": label(np.float32) * np.float32(1.0001)}),
    "forms": ("forms_disagree", {"in_image": {"qform": moved(9)}}),
    "four": ("single_volume_4d", {"in_image": {"dim": [4, *ct().T.shape, 1, 1, 1, 1]}}),
}
ASIDE = {
    "holes": ("intensity_invalid", {"image": np.where(body(), np.nan, ct()).astype(np.float32)}),
    "grey": ("not_hounsfield", {"image": (np.arange(ct().size) % 256).reshape(ct().shape)}),
    "apart": ("grid_mismatch", {"in_label": {"sform": moved(5), "qform": moved(5)}}),
    "huge": ("header_implausible", {"in_image": {"dim": [3, 32767, 32767, 999, 1, 1, 1, 1]}}),
    "flat": ("geometry_invalid", headers(AFFINE @ np.diag([1, 1, 100, 1]))),
    "twice": ("several_volumes", {"in_image": {"dim": [4, 24, 20, 6, 2, 1, 1, 1]}}),
    "halves": ("label_not_integer", {"label_voxels": label(np.float32) * 0.5}),
    "minus": ("label_negative", {"label_voxels": -label(np.int16)}),
    "third": ("value_unlisted", {"label_voxels": label() * 3}),
    "magic": ("unreadable", {"in_label": {"magic": b"xx1"}}),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defects")
    root = folder / "odd"
    write_case(root / "good")
    for name, (_, defect) in {**KEPT, **ASIDE}.items():
        write_case(root / name, **defect)
    write_case(root / "cut")
    content = (root / "cut" / "image.nii.gz").read_bytes()
    (root / "cut" / "image.nii.gz").write_bytes(content[: len(content) // 2])
    write_case(root / "absent", label_voxels=label() * 0)
    (folder / "odd.toml").write_text(RECIPE)
    target = Target(load_label_space("abdomen5"), SPACING_MM, folder / "out")
    prepare(PrepareRequest((load_recipe(folder / "odd.toml"),), folder, target), workers=1)
    return folder / "out"


@pytest.fixture(scope="module")
def cases(out):
    return {c.case_id.removeprefix("odd/"): c for c in read_manifest(out).cases()}


def test_the_manifest_holds_what_can_be_used_and_is_whole(out, cases):
    assert set(cases) == {"good", "absent", *KEPT}
    assert validate(out, hashes=True) == []


def codes(case):
    """What was noticed, but for what these cases have in common: classes without voxels."""
    return {f.code for f in case.findings} - {"class_absent", "duplicate_image"}


def test_a_good_case_has_no_finding(cases):
    assert codes(cases["good"]) == set()


@pytest.mark.parametrize("name", KEPT)
def test_what_was_repaired_is_in_the_manifest_and_the_voxels_are_right(cases, name):
    case, good = cases[name], cases["good"]
    assert codes(case) == {KEPT[name][0]}
    assert case.voxels == good.voxels
    assert case.size == good.size
    assert case.origin_mm == pytest.approx(good.origin_mm)
    if name not in ("nan", "padded"):  # these lost the noise of the air
        assert case.image_sha256 == good.image_sha256
    assert case.label_sha256 == good.label_sha256


def test_nan_and_padding_became_air(out, cases):
    for name in ("nan", "padded"):
        case = cases[name]
        assert case.hu_min == -1024
        hu = sitk.GetArrayFromImage(sitk.ReadImage(str(out / case.image)))
        assert (hu == -1024).sum() > hu.size / 4


def test_a_case_without_any_organ_is_annotated_and_absent(cases):
    case = cases["absent"]
    assert codes(case) == {"label_empty"}
    assert case.annotated == ("liver", "spleen")
    assert [f.code for f in case.findings].count("class_absent") == 2


def test_what_was_set_aside_is_listed_with_its_code(out):
    with (out / "rejected.csv").open(newline="") as file:
        found = {row["case"]: row["code"] for row in csv.DictReader(file)}
    assert found == {name: code for name, (code, _) in ASIDE.items()} | {"cut": "truncated"}


def test_a_dicom_folder_is_prepared_and_hashed_as_a_whole(shared_data, tmp_path):
    source = shared_data / "totalsegmentator" / "example_ct_dicom"
    root = tmp_path / "odd" / "s1"
    shutil.copytree(source / "dicom", root / "dicom")
    drawn = nib.load(source / "label.nii.gz")
    liver = (np.asarray(drawn.dataobj) == 5).astype(np.uint8)
    nib.save(nib.Nifti1Image(liver, drawn.affine), root / "label.nii.gz")
    (tmp_path / "odd.toml").write_text(RECIPE)
    target = Target(load_label_space("abdomen5"), (3.0, 3.0, 4.0), tmp_path / "out")
    request = PrepareRequest((load_recipe(tmp_path / "odd.toml"),), tmp_path, target)
    first = prepare(request, workers=1)
    (case,) = first.manifest.cases()
    assert "label_reoriented" in {f.code for f in case.findings}
    assert case.source_spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    expected_ml = liver.sum() * 0.9765625**2 * 2 / 1000
    assert case.volume_ml[1] == pytest.approx(expected_ml, rel=0.02)
    assert prepare(request, workers=1).made == 0
    shutil.copy(min((root / "dicom").iterdir()), root / "dicom" / "again.dcm")
    again = prepare(request, workers=1)
    assert again.made == 1
    (other,) = again.manifest.cases()
    assert "dicom_slices_duplicate" in {f.code for f in other.findings}
    assert other.image_sha256 == case.image_sha256
    assert other.source_image_sha256 != case.source_image_sha256
