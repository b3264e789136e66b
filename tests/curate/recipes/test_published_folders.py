"""Recipes of datasets that people unpack themselves, on folders laid out as published."""

import numpy as np
import pytest
from typer.testing import CliRunner

import curate.commands
from curate.cases.reading import read_case
from curate.datasets.discover import discover
from curate.datasets.locate import locate
from curate.labels.relabel import BlockMap
from curate.recipes.schema import load_recipe, shipped_recipes
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import merged_classes
from manifests.ground.errors import SourceError
from manifests.ground.findings import SetAsideError
from tests.curate.published import SHAPE_XYZ, inside
from tests.curate.published_folders import FOLDERS, lay_out

BTCV_ORGANS = (
    *("liver", "spleen", "pancreas", "left_kidney", "right_kidney", "gallbladder", "stomach"),
    *("esophagus", "aorta", "inferior_vena_cava", "right_adrenal", "left_adrenal"),
)
LARGE = (*BTCV_ORGANS, "duodenum", "urinary_bladder")
NOT_ESOPHAGUS = tuple(name for name in LARGE if name != "esophagus")
# what each dataset tells apart of abdomen15, kidneys of one value aside, and its cases
EXPECTED = {
    "lits": (["0", "130"], ("liver",)),
    "abdomenct_1k": (["Case_00001"], ("liver", "spleen", "pancreas")),
    "ct_org": (["0"], ("liver", "urinary_bladder")),
    "word": (["word_0001", "word_0002", "word_0014"], (*BTCV_ORGANS[:8], "duodenum")),
    "pants": (["PanTS_00000001", "PanTS_00009001"], NOT_ESOPHAGUS),
    "abdomenatlas": (["BDMAP_00000001"], LARGE),
    "kits21": (["case_00000"], ()),
    "btcv_nnunet": (["ABD_001"], BTCV_ORGANS),
    "btcv": (["0001"], BTCV_ORGANS),
    "totalsegmentator_v1": (["s0011"], LARGE),
}


def told_apart(case, recipe):
    """What a case's label tells apart in abdomen15: class ids [x, y, z]."""
    space = load_label_space("abdomen15")
    _, label, _ = read_case(case, {*recipe.values, *recipe.ignored_values})
    blocks = BlockMap.of(label, recipe.values, recipe.ignored_values)
    return blocks.to_classes(space, merged_classes(blocks.blocks, space)).voxels.transpose(2, 1, 0)


@pytest.mark.parametrize("dataset", FOLDERS)
def test_every_voxel_has_its_class_in_the_publishers_layout(tmp_path, dataset):
    lay_out(dataset, tmp_path)
    recipe, space = load_recipe(dataset), load_label_space("abdomen15")
    cases = discover(recipe, locate(recipe, tmp_path, tmp_path / "none").path)
    names, organs = EXPECTED[dataset]
    assert [case.name for case in cases] == names
    expected = np.zeros(SHAPE_XYZ, np.uint8)
    for organ in organs:
        expected[inside(organ)] = space.names.index(organ)
    if recipe.split_kidneys:  # one group until they are split
        kidneys = [space.names.index(f"{side}_kidney") for side in ("left", "right")]
        expected[inside("left_kidney") | inside("right_kidney")] = min(kidneys)
    for case in cases:
        assert np.array_equal(told_apart(case, recipe), expected)


def test_what_is_not_verified_is_listed_and_told():
    listed = CliRunner().invoke(curate.commands.app, ["recipe", "list"], env={"COLUMNS": "400"})
    cells = [[c.strip() for c in row.split("│")] for row in listed.output.splitlines()]
    told = {row[1]: row[-2] for row in cells if len(row) > 2}
    assert told == {n: ", ".join(load_recipe(n).unverified) for n in shipped_recipes()}
    checked = CliRunner().invoke(curate.commands.app, ["recipe", "check", "lits"])
    assert "not verified, licence: the challenge's own terms were not seen" in checked.output


def test_a_dataset_that_people_fetch_is_named_with_its_place(tmp_path):
    words = ["download", "abdomenct_1k", "--raw", str(tmp_path)]
    result = CliRunner().invoke(curate.commands.app, words)
    assert result.exit_code == 0
    assert "AbdomenCT-1K-ImagePart2.zip at https://zenodo.org/records/5903846" in result.output
    assert "eb24ba869589d15fe1d89ccf7f13aaa4" in result.output
    assert "everything is there" not in result.output


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError) as error:
        locate(load_recipe("word"), tmp_path / "gone", tmp_path / "none")
    assert f"not found under {tmp_path / 'gone'}, which does not exist: expected a folder" in str(
        error.value
    )
    assert "Get and unpack WORD-V0.1.0.zip at https://github.com/HiLab-git/WORD" in str(error.value)


def test_a_stray_value_may_be_declared_as_ignored(tmp_path):
    lay_out("lits", tmp_path)
    recipe = load_recipe("lits")
    case, *_ = discover(recipe, locate(recipe, tmp_path, tmp_path / "none").path)
    with pytest.raises(SetAsideError, match='2 = "ignored" if nobody looked there'):
        read_case(case, {1})
