"""Laterality: a mirror image's classes, for every label space and random merged classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.classes.label_space import (
    LabelClass,
    LabelSpace,
    load_label_space,
    shipped_label_spaces,
)
from manifests.classes.merged import as_blocks, is_merged, merge_groups, merged_classes
from manifests.classes.structures import Structure, vocabulary
from manifests.ground.errors import TrainingError
from train.laterality import mirror_merged, mirrored_classes

SPACES = tuple(load_label_space(name) for name in shipped_label_spaces())


def space_of(*names, **fields):
    classes = [LabelClass(name=n, structures=(n,), colour="#000000") for n in names]
    return LabelSpace(name="mine", classes=tuple(classes), **fields)


def merged_of(draw, n):
    groups = draw(st.lists(st.sets(st.integers(0, n - 1), min_size=2, max_size=4), max_size=5))
    return merge_groups(range(n), groups)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_left_and_right_are_swapped_and_all_else_stays(space):
    mirrored = mirrored_classes(space)
    pairs = {name: other for pair in space.left_right_pairs for name, other in (pair, pair[::-1])}
    assert [space.names[n] for n in mirrored] == [pairs.get(n, n) for n in space.names]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_the_vocabulary_says_the_same_as_the_pairs(space):
    unpaired = space.model_copy(update={"left_right_pairs": ()})
    assert mirrored_classes(unpaired) == mirrored_classes(space)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@given(data=st.data())
def test_a_mirrored_partition_is_the_partition_of_the_mirrored_classes(space, data):
    merged = merged_of(data.draw, len(space))
    mirrored = mirrored_classes(space)
    swapped = mirror_merged(merged, mirrored)
    assert is_merged(swapped)
    assert mirror_merged(swapped, mirrored) == merged
    # by brute force: two classes are together if and only if their mirror images were
    for a in range(len(space)):
        for b in range(len(space)):
            together = merged[a] == merged[b]
            assert (swapped[mirrored[a]] == swapped[mirrored[b]]) == together


def other_side(name):
    side = vocabulary()[name].laterality
    return name.replace(side, {"left": "right", "right": "left"}[side]) if side else name


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@given(data=st.data())
def test_it_is_what_the_annotation_of_the_mirrored_patient_would_say(space, data):
    names = sorted(vocabulary())
    owner = data.draw(st.lists(st.integers(-1, 4), min_size=len(names), max_size=len(names)))
    blocks = [{n for n, o in zip(names, owner, strict=True) if o == i} for i in range(5)]
    swapped = [{other_side(n) for n in block} for block in blocks]
    merged, expected = (merged_classes(as_blocks(b), space) for b in (blocks, swapped))
    assert mirror_merged(merged, mirrored_classes(space)) == expected


@given(st.data())
def test_labels_and_merged_stay_of_one_partition(data):
    space = load_label_space("abdomen13")
    merged, mirrored = merged_of(data.draw, len(space)), mirrored_classes(space)
    truth = np.arange(len(space))  # one voxel of each class
    stored = np.array(merged)[truth]
    swapped = mirror_merged(merged, mirrored)
    relabelled = np.array([swapped[mirrored[n]] for n in merged])[truth]
    np.testing.assert_array_equal(relabelled, np.array(swapped)[np.array(mirrored)[truth]])
    assert set(stored) <= set(merged)
    assert set(relabelled) <= set(swapped)


def test_a_class_of_both_sides_is_its_own_mirror_image():
    both = LabelClass(name="kidneys", structures=("left_kidney", "right_kidney"), colour="#000000")
    assert mirrored_classes(LabelSpace(name="mine", classes=(both,))) == (0, 1)


def test_declared_structures_are_matched_by_code_or_else_by_name():
    declared = {
        "sinister_lung": Structure(code="39607008", laterality="left"),
        "dexter_lung": Structure(code="39607008", laterality="right"),
        "left_rib": Structure(laterality="left"),
        "right_rib": Structure(laterality="right"),
    }
    space = space_of("left_rib", "sinister_lung", "dexter_lung", "right_rib", structures=declared)
    assert mirrored_classes(space) == (0, 4, 3, 2, 1)


def test_a_pair_in_the_label_space_needs_no_vocabulary():
    declared = {"ear_l": Structure(), "ear_r": Structure()}
    space = space_of("ear_l", "ear_r", structures=declared, left_right_pairs=(("ear_l", "ear_r"),))
    assert mirrored_classes(space) == (0, 2, 1)


@pytest.mark.parametrize(
    "space",
    [
        space_of("liver", "left_kidney"),
        space_of("left_rib", structures={"left_rib": Structure(laterality="left")}),
    ],
)
def test_a_side_without_its_counterpart_cannot_be_mirrored(space):
    with pytest.raises(TrainingError, match=r"the class 'left_\w+' has no counterpart"):
        mirrored_classes(space)
