"""Label values to blocks to classes."""

import numpy as np
import pytest

from curate.labels.relabel import BlockMap, look_up, structures_on
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import merged_classes
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

ABDOMEN5 = load_label_space("abdomen5")


def volume(values, dtype=np.uint16):
    voxels = np.array(values, dtype).reshape(1, 1, -1)
    return Volume(voxels, Grid((voxels.size, 1, 1), (1.0, 1.0, 1.0)))


def values_of(volume):
    return volume.voxels.ravel().tolist()


def classes(block_map, space=ABDOMEN5):
    merged = merged_classes(block_map.blocks, space)
    return values_of(block_map.to_classes(space, merged)), merged


def test_tumour_is_merged_into_its_organ():
    block_map = BlockMap.of(volume([0, 1, 2]), load_recipe("msd_liver").values)
    assert classes(block_map) == ([0, 1, 1], (0, 1, 0, 0, 0, 0))


def test_organ_and_tumour_stay_apart_where_the_space_wants_it():
    block_map = BlockMap.of(volume([0, 1, 2]), load_recipe("msd_pancreas").values)
    assert classes(block_map, load_label_space("pancreas_tumour")) == ([0, 1, 2], (0, 1, 2))


def test_organ_labelled_with_its_tumour_is_one_group_of_two_classes():
    block_map = BlockMap.of(volume([0, 11, 1]), load_recipe("btcv").values)
    assert classes(block_map, load_label_space("pancreas_tumour")) == ([0, 1, 0], (0, 1, 1))


def test_btcv_values_become_the_five_classes():
    block_map = BlockMap.of(volume(range(14)), load_recipe("btcv").values)
    voxels, merged = classes(block_map)
    assert merged == (0, 1, 2, 3, 4, 5)
    assert voxels == [0, 2, 5, 4, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0]


def test_values_need_not_be_small_or_in_order():
    values = {500: ("spleen",), 7: ("liver", "liver_tumour")}
    voxels, _ = classes(BlockMap.of(volume([0, 7, 500]), values))
    assert voxels == [0, 1, 2]


def test_kidneys_are_parted_by_side_with_their_tumours():
    block_map = BlockMap.of(volume([0, 1, 1, 2, 2]), load_recipe("kits19").values)
    assert values_of(block_map.two_sided()) == [0, 1, 1, 1, 1]
    parted = block_map.by_side(volume([0, 1, 2, 1, 2], np.uint8))
    assert classes(parted) == ([0, 4, 5, 4, 5], (0, 0, 0, 0, 4, 5))


def test_what_is_told_apart_does_not_depend_on_what_the_patient_has():
    # No tumour and no right kidney here: the annotator would still have told them apart.
    parted = BlockMap.of(volume([0, 1]), load_recipe("kits19").values).by_side(
        volume([0, 1], np.uint8)
    )
    assert classes(parted) == ([0, 4], (0, 0, 0, 0, 4, 5))


def test_unsplit_kidneys_are_one_group_told_apart_from_the_background():
    block_map = BlockMap.of(volume([0, 1, 2]), load_recipe("kits19").values)
    assert classes(block_map) == ([0, 4, 4], (0, 0, 0, 0, 4, 4))


def test_one_sided_blocks_are_not_parted():
    values = {1: ("left_kidney", "left_kidney_tumour"), 2: ("spleen",)}
    block_map = BlockMap.of(volume([0, 1, 2]), values)
    assert values_of(block_map.two_sided()) == [0, 0, 0]
    assert block_map.by_side(volume([0, 0, 0], np.uint8)).blocks == block_map.blocks


@pytest.mark.parametrize(("side", "other"), [("left", "right"), ("right", "left")])
def test_the_vocabulary_is_symmetric(side, other):
    assert {name.replace(side, other) for name in structures_on(side)} == structures_on(other)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_looking_up_is_indexing(dtype):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 200, (5, 7, 9)).astype(dtype)
    for size in (200, 256, 70000):
        table = rng.integers(0, 256, size).astype(np.uint8)
        found = look_up(Volume(voxels, Grid((9, 7, 5), (1.0, 1.0, 1.0))), table).voxels
        assert found.dtype == np.uint8
        assert np.array_equal(found, table[voxels])


def test_great_label_values_are_looked_up_too():
    block_map = BlockMap.of(volume([0, 300, 65535]), {300: ["liver"], 65535: ["spleen"]})
    assert block_map.number_of[values_of(block_map.volume)].tolist() == [0, 1, 2]
