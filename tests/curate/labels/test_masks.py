"""Datasets with one mask file per structure, from the recipe to the manifest."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import curate.commands
from curate.cases.reading import read_case
from curate.cases.target import Target
from curate.datasets.discover import discover
from curate.datasets.locate import locate
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import is_merged, merged_classes
from manifests.ground.errors import RecipeError
from manifests.ground.findings import SetAsideError
from tests.curate.defects import AFFINE, SHAPE, ct, write_nifti

RECIPE = """
name = "many"
title = "One mask per structure"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "masks"
roots = ["Many*"]
case = 's\\d+'
images = ["{case}/ct.nii.gz"]
labels = ["{case}/segmentations"]

[masks]
"spleen.nii.gz" = ["spleen"]
"liver.nii.gz" = ["liver", "liver_tumour"]
"kidney_left.nii.gz" = ["left_kidney", "left_kidney_tumour"]
"""
NAMES = ("spleen.nii.gz", "liver.nii.gz", "kidney_left.nii.gz")


@pytest.fixture
def recipe(tmp_path):
    return load(tmp_path, RECIPE)


def load(folder, text):
    path = folder / "many.toml"
    path.write_text(text)
    return load_recipe(path)


def masks():
    """Three boxes; the liver and the kidney share 6 voxels, the spleen and the liver 4."""
    found = {name: np.zeros(SHAPE, np.uint8) for name in NAMES}
    found[NAMES[0]][2:5, 6:10, 6:9] = 1
    found[NAMES[1]][4:8, 8:12, 8:12] = 1
    found[NAMES[2]][7:9, 8:11, 10:15] = 1
    return found


def write_masks(root, name="s1", voxels=None):
    folder = root / name / "segmentations"
    folder.mkdir(parents=True)
    write_nifti(root / name / "ct.nii.gz", ct())
    for file, mask in (voxels or masks()).items():
        write_nifti(folder / file, mask)
    write_nifti(folder / "heart.nii.gz", masks()[NAMES[0]])  # not in the recipe
    return folder


def read(recipe, root):
    (case,) = discover(recipe, root)
    hu, ids, findings = read_case(case, recipe.values)
    assert hu.grid.size_xyz == ids.grid.size_xyz
    return ids.voxels, findings


# --- recipe -----------------------------------------------------------------------------------


def test_masks_are_numbered_in_their_order(recipe):
    assert recipe.values == {
        1: ("spleen",),
        2: ("liver", "liver_tumour"),
        3: ("left_kidney", "left_kidney_tumour"),
    }
    assert tuple(recipe.masks) == NAMES
    merged = merged_classes(recipe.blocks, load_label_space("abdomen5"))
    assert is_merged(merged)
    assert merged == (0, 1, 2, 0, 4, 0)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[masks]", '[values]\n1 = ["pancreas"]\n[masks]', "one of the two"),
        ('kind = "masks"', 'kind = "pairs"', "only with it"),
        ("[masks]", "[masks_]", "masks_"),
        ('"liver.nii.gz"', '"../liver.nii.gz"', "masks"),
        ('"liver.nii.gz"', '"/liver.nii.gz"', "masks"),
        ('["spleen"]', '["splen"]', "did you mean 'spleen'"),
        ('["spleen"]', '["liver"]', "covered by two values"),
        ('["liver", "liver_tumour"]', '["liver"]', "is a part of 'liver'"),
        ('["spleen"]', "[]", "spleen.nii.gz"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path, old, new, complaint):
    assert old in RECIPE
    with pytest.raises(RecipeError) as error:
        load(tmp_path, RECIPE.replace(old, new))
    assert complaint in str(error.value)
    assert "many.toml" in str(error.value)


def test_values_without_masks_are_missing(tmp_path):
    with pytest.raises(RecipeError, match="values"):
        load(tmp_path, RECIPE[: RECIPE.index("[masks]")])


def test_recipe_check_knows_masks(tmp_path):
    load(tmp_path, RECIPE)
    path = str(tmp_path / "many.toml")
    result = CliRunner().invoke(curate.commands.app, ["recipe", "check", path])
    assert result.exit_code == 0, result.output
    assert "well formed" in result.output


# --- reading ----------------------------------------------------------------------------------


def test_overlaps_go_to_the_mask_that_is_listed_first_and_are_counted(tmp_path, recipe):
    write_masks(tmp_path)
    ids, findings = read(recipe, tmp_path)
    spleen, liver, kidney = (masks()[name] > 0 for name in NAMES)
    expected = np.select([spleen, liver, kidney], [1, 2, 3], 0)
    assert np.array_equal(ids, expected)
    (finding,) = findings
    assert finding.code == "masks_overlap"
    both, all_kidney = np.sum(spleen & liver), np.sum(liver & kidney & ~spleen)
    assert f"{both:,} of liver.nii.gz in spleen.nii.gz" in finding.reason
    assert f"{all_kidney:,} of kidney_left.nii.gz in liver.nii.gz" in finding.reason
    assert (both, all_kidney) == (2, 6)


def test_an_empty_mask_is_an_absent_structure_and_a_missing_one_is_not(tmp_path, recipe):
    voxels = masks()
    voxels[NAMES[2]][:] = 0
    folder = write_masks(tmp_path, voxels=voxels)
    ids, _ = read(recipe, tmp_path)
    assert set(np.unique(ids)) == {0, 1, 2}
    (folder / NAMES[2]).unlink()
    with pytest.raises(SetAsideError) as error:
        read(recipe, tmp_path)
    assert error.value.finding.code == "file_missing"


def test_any_one_value_means_inside_and_two_are_refused(tmp_path, recipe):
    folder = write_masks(tmp_path)
    write_nifti(folder / NAMES[0], masks()[NAMES[0]] * 255)
    assert set(np.unique(read(recipe, tmp_path)[0])) == {0, 1, 2, 3}
    two = masks()[NAMES[0]]
    two[0, 0, 0] = 2
    write_nifti(folder / NAMES[0], two)
    with pytest.raises(SetAsideError, match="a mask") as error:
        read(recipe, tmp_path)
    assert error.value.finding.code == "value_unlisted"


def test_each_mask_is_checked_against_the_image(tmp_path, recipe):
    folder = write_masks(tmp_path)
    affine = AFFINE.copy()
    affine[0, 3] += 5
    write_nifti(folder / NAMES[1], masks()[NAMES[1]], sform=affine, qform=affine)
    with pytest.raises(SetAsideError, match="liver") as error:
        read(recipe, tmp_path)
    assert error.value.finding.code == "grid_mismatch"


# --- prepare ----------------------------------------------------------------------------------


def test_a_dataset_of_masks_is_prepared_as_one_of_maps(tmp_path, recipe):
    """The same organs as masks and as one map give the same volumes, byte for byte."""
    root = tmp_path / "raw" / "Many_v1"
    for name in ("s2", "s10", "s1"):
        write_masks(root, name)
    assert locate(recipe, tmp_path / "raw", tmp_path / "none").path == root
    assert [c.name for c in discover(recipe, root)] == ["s1", "s2", "s10"]
    table = RECIPE[: RECIPE.index("[masks]")].replace('"masks"', '"pairs"').replace("many", "one")
    table = table.replace("{case}/segmentations", "{case}/label.nii.gz").replace("Many*", "One")
    values = "\n".join(f"{v} = {json.dumps(s)}" for v, s in recipe.values.items())
    maps = load(tmp_path, f"{table}[values]\n{values}\n")
    one = tmp_path / "raw" / "One"
    spleen, liver, kidney = (masks()[name] > 0 for name in NAMES)
    for name in ("s1", "s2", "s10"):
        (one / name).mkdir(parents=True)
        shutil.copy(root / name / "ct.nii.gz", one / name)
        drawn = np.select([spleen, liver, kidney], [1, 2, 3], 0).astype(np.uint8)
        write_nifti(one / name / "label.nii.gz", drawn)
    target = Target(load_label_space("abdomen5"), (1.6, 1.6, 2.5), tmp_path / "out")
    report = prepare(PrepareRequest((recipe, maps), tmp_path / "raw", target), workers=1)
    assert report.rejected == ()
    cases = {c.case_id: c for c in report.manifest.cases()}
    for name in ("s1", "s2", "s10"):
        masked, mapped = cases[f"many/{name}"], cases[f"one/{name}"]
        assert masked.label_sha256 == mapped.label_sha256
        assert masked.merged == mapped.merged == (0, 1, 2, 0, 4, 0)
        assert "masks_overlap" in {f.code for f in masked.findings}
    again = prepare(PrepareRequest((recipe, maps), tmp_path / "raw", target), workers=1)
    assert again.made == 0
    write_nifti(root / "s2" / "segmentations" / NAMES[0], masks()[NAMES[0]] * 0)
    assert prepare(PrepareRequest((recipe, maps), tmp_path / "raw", target), workers=1).made == 1


def test_real_masks_give_what_the_real_map_gives(shared_data, tmp_path):
    """TotalSegmentator's layout, made of its own label map."""
    source = shared_data / "totalsegmentator" / "example_ct_sm"
    label = sitk.Cast(sitk.ReadImage(str(source / "label.nii.gz")), sitk.sitkUInt16)
    names = {n: int(v) for v, n in json.loads((source / "labels.json").read_text()).items()}
    wanted = {"spleen": ["spleen"], "liver": ["liver", "liver_tumour"], "aorta": ["aorta"]}
    folder = tmp_path / "s0001" / "segmentations"
    folder.mkdir(parents=True)
    shutil.copy(source / "image.nii.gz", tmp_path / "s0001" / "ct.nii.gz")
    for name in wanted:
        sitk.WriteImage(label == names[name], str(folder / f"{name}.nii.gz"))
    lines = "\n".join(f'"{n}.nii.gz" = {json.dumps(s)}' for n, s in wanted.items())
    recipe = load(tmp_path, f"{RECIPE[: RECIPE.index('[masks]')]}[masks]\n{lines}\n")
    ids, findings = read(recipe, tmp_path)
    drawn = sitk.GetArrayFromImage(label)
    for value, name in enumerate(wanted, start=1):
        assert np.array_equal(ids == value, drawn == names[name])
        assert (ids == value).any()
    assert "masks_overlap" not in {f.code for f in findings}
