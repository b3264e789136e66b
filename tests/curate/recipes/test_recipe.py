"""One contract over every shipped recipe, and what a recipe of the user's own is told."""

import tomllib

import numpy as np
import pytest

from curate.labels.relabel import BlockMap
from curate.recipes.schema import FOLDER, load_recipe, shipped_recipes
from manifests.classes.label_space import load_label_space, shipped_label_spaces
from manifests.classes.merged import annotated_classes, is_merged, merged_classes
from manifests.ground.errors import RecipeError
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

MINIMAL = """
name = "mine"
title = "Mine"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "pairs"
roots = ["mine"]
case = '\\d+'
images = ["{case}/image.nii.gz"]
labels = ["{case}/label.nii.gz"]

[values]
1 = ["spleen"]
"""


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_keeps_the_contract(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.labelled_cases
    assert recipe.sources
    assert recipe.citation
    assert recipe.homepage.startswith("https://")
    assert recipe.layout.archives or {s.kind for s in recipe.sources} == {"by_hand"}
    assert {"values", "licence"} <= {*recipe.evidence, *recipe.unverified}
    for space in map(load_label_space, shipped_label_spaces()):
        assert is_merged(merged_classes(recipe.blocks, space))


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("btcv", (0, 1, 2, 3, 4, 5)),
        ("msd_liver", (0, 1, 0, 0, 0, 0)),
        ("msd_spleen", (0, 0, 2, 0, 0, 0)),
        ("msd_pancreas", (0, 0, 0, 3, 0, 0)),
        ("kits19", (0, 0, 0, 0, 4, 4)),  # until the kidneys are split
    ],
)
def test_merged_classes_of_the_papers_datasets(name, merged):
    assert merged_classes(load_recipe(name).blocks, load_label_space("abdomen5")) == merged


def test_btcv_labels_all_of_abdomen13_and_each_value_is_its_class():
    recipe, space = load_recipe("btcv"), load_label_space("abdomen13")
    assert annotated_classes(merged_classes(recipe.blocks, space)) == tuple(range(1, 14))
    for value, structures in recipe.values.items():
        assert {space.class_of[s] for s in structures} == {value}


def test_labelled_cases_add_up_to_the_datasets_own_counts():
    counts = {name: load_recipe(name).labelled_cases for name in shipped_recipes()}
    assert counts == {
        "btcv": 30,
        "msd_liver": 131,
        "msd_pancreas": 281,
        "msd_spleen": 41,
        "kits19": 210,
        "amos22": 300,
        "flare22": 50,
        "kits23": 489,
        "msd_colon": 126,
        "msd_hepatic_vessel": 303,
        "totalsegmentator": 1228,
        "abdomenatlas": 9262,
        "abdomenct_1k": 1000,
        "btcv_nnunet": 30,
        "chaos_ct": 20,
        "flare23": 2200,
        "ircadb": 20,
        "pancreas_ct": 80,
        "ct_org": 140,
        "kits21": 300,
        "lits": 131,
        "msd_lung": 63,
        "pants": 9901,
        "totalsegmentator_v1": 1204,
        "word": 150,
    }


def test_users_recipe_is_taken_by_path(tmp_path):
    assert load_recipe(write(tmp_path, MINIMAL)).values == {1: ("spleen",)}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('1 = ["spleen"]', '1 = ["splen"]', "did you mean 'spleen'"),
        ('1 = ["spleen"]', '1 = ["liver"]', "'liver_tumour' is a part of 'liver'"),
        ('1 = ["spleen"]', '1 = ["spleen"]\n2 = ["spleen", "aorta"]', "covered by two values"),
        ('1 = ["spleen"]', '0 = ["spleen"]', "values.0"),
        ("commercial_use = true", 'commercial_use = "perhaps"', "commercial_use"),
        ('title = "Mine"', 'title = "Mine"\ncolour = "red"', "colour"),
        ('"{case}/label.nii.gz"', '"label.nii.gz"', "does not contain {case}"),
        ('kind = "pairs"', 'kind = "heap"', "layout"),
        ('name = "mine"', "name = ", "cannot be read"),
        ('licence = "CC0-1.0"\n', "", "licence: is missing"),
        ('1 = ["spleen"]', '1 = "spleen"', "values.1: expected a list"),
        ('version = "1"', "version = 1", "version: expected text in quotes"),
        ("case = '\\d+'", "case = '(\\d+'", "is not a regular expression"),
        ("case = '\\d+'", f"case = '{'(' * 2000}a{')' * 2000}'", "is not a regular expression"),
        ('roots = ["mine"]', 'roots = ["/data/mine"]', "layout.pairs.roots"),
        ('roots = ["mine"]', 'roots = ["."]', "layout.pairs.roots"),
        ('roots = ["mine"]', 'roots = ["mine**"]', "layout.pairs.roots"),
        ('"{case}/label.nii.gz"', '"/{case}/label.nii.gz"', "expected a name or a path below"),
        ('title = "Mine"', f'title = "Mine"\na = {"[" * 5000}{"]" * 5000}', "nested too deep"),
        ("[values]", "[value]", "value: no such key"),
    ],
)
def test_error_names_file_and_key(tmp_path, old, new, complaint):
    path = write(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert str(path) in str(error.value)
    assert complaint in str(error.value)


def test_a_part_may_be_declared_unlabelled(tmp_path):
    text = MINIMAL.replace('1 = ["spleen"]', '1 = ["liver"]')
    text = text.replace('citation = "none"', 'citation = "none"\nunlabelled = ["liver_tumour"]')
    recipe = load_recipe(write(tmp_path, text))
    # The class liver holds its tumour, which this annotator left to the background.
    assert merged_classes(recipe.blocks, load_label_space("abdomen5"))[1] == 0


def test_own_structures_can_be_declared(tmp_path):
    text = MINIMAL.replace('1 = ["spleen"]', '1 = ["spleen"]\n2 = ["duodenum"]')
    assert load_recipe(write(tmp_path, text + "\n[structures.duodenum]\n")).structures


def test_values_of_the_same_structures_are_one_block(tmp_path):
    text = MINIMAL.replace('1 = ["spleen"]', '1 = ["aorta"]\n2 = ["spleen"]\n7 = ["aorta"]')
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.blocks == (frozenset({"aorta"}), frozenset({"spleen"}))
    label = Volume(np.array([[[0, 1, 2, 7]]], np.uint16), Grid((4, 1, 1), (1.0, 1.0, 1.0)))
    block_map = BlockMap.of(label, recipe.values)
    assert block_map.blocks == (frozenset({"aorta"}), frozenset({"spleen"}))
    assert block_map.number_of[label.voxels].ravel().tolist() == [0, 1, 2, 1]


def test_a_download_without_a_checksum_is_refused(tmp_path):
    source = '[[sources]]\nkind = "http"\nfile = "a.zip"\nurl = "https://example.org/a.zip"\n'
    with pytest.raises(RecipeError, match="md5 or sha256"):
        load_recipe(write(tmp_path, MINIMAL + source))
    for checksum in (f'md5 = "{"0" * 32}"', f'sha256 = "{"0" * 64}"'):
        assert load_recipe(write(tmp_path, f"{MINIMAL}{source}{checksum}\n")).sources


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(RecipeError, match="btcv"):
        load_recipe("btvc")


def test_every_recipe_file_is_plain_toml():
    for path in FOLDER.glob("*.toml"):
        assert tomllib.loads(path.read_text())["name"] == path.stem
