"""Edits: arithmetic on the manifest gives what relabelling the voxels would give."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.changes.edits import coarsen, edit
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import as_blocks, groups_of, merge_groups, merged_classes
from manifests.ground.errors import ManifestError
from manifests.table.manifest import Manifest

ABDOMEN5 = load_label_space("abdomen5")
LIVER = [["liver", "liver_tumour"]]
KIDNEYS = [["left_kidney", "left_kidney_tumour"], ["right_kidney", "right_kidney_tumour"]]
VOXEL_ML = 1.5 * 1.5 * 3.0 / 1000

known = sorted({*ABDOMEN5.class_of, "stomach"})
some_structures = st.sets(st.sampled_from(known), max_size=4)
some_merges = st.lists(st.sets(st.sampled_from(known), min_size=1, max_size=3), max_size=3)


@st.composite
def annotations(draw: st.DrawFn) -> tuple[frozenset[str], ...]:
    numbers = draw(st.dictionaries(st.sampled_from(known), st.integers(0, 5)))
    return as_blocks([s for s, n in numbers.items() if n == block] for block in range(1, 6))


@pytest.fixture
def manifest(make_case, make_manifest):
    return make_manifest(
        [make_case("btcv/1"), make_case("btcv/2"), make_case("msd_liver/1", blocks=LIVER)]
    )


# One case, by hand.


def test_dropped_organ_joins_the_background(manifest):
    before, after = (m.case("btcv/1") for m in (manifest, edit(manifest, drop=["spleen"])))
    assert after.merged == (0, 1, 0, 3, 4, 5)
    assert after.annotated == ("liver", "pancreas", "left_kidney", "right_kidney")
    assert after.blocks == tuple(b for b in before.blocks if b != ("spleen",))
    assert after.voxels == (before.voxels[0] + 20, 10, 0, 30, 40, 50)
    assert after.volume_ml == pytest.approx([n * VOXEL_ML for n in after.voxels])


def test_merged_organs_are_one_group(manifest):
    before = manifest.case("btcv/1")
    after = edit(manifest, merge=[["left_kidney", "right_kidney"]]).case("btcv/1")
    assert after.merged == (0, 1, 2, 3, 4, 4)
    assert after.annotated == ("liver", "spleen", "pancreas")
    assert after.voxels == (before.voxels[0], 10, 20, 30, 90, 0)
    assert {frozenset(b) for b in after.blocks} >= {frozenset([*KIDNEYS[0], *KIDNEYS[1]])}


def test_merged_with_what_is_not_annotated_is_not_annotated_either(manifest):
    after = edit(manifest, merge=[["liver", "spleen"]]).case("msd_liver/1")
    assert after.merged == (0,) * 6
    assert after.blocks == ()
    assert after.voxels == (1200, 0, 0, 0, 0, 0)


def test_tumour_is_merged_into_its_organ(make_case, make_manifest):
    space = load_label_space("pancreas_tumour")
    manifest = make_manifest([make_case(space=space)], space=space)
    after = edit(manifest, merge=[["pancreas", "pancreas_tumour"]]).case("btcv/1")
    assert after.merged == (0, 1, 1)
    assert after.voxels == (1170, 30, 0)


def test_block_goes_whole(manifest):
    after = edit(manifest, drop=["liver_tumour"]).case("msd_liver/1")
    assert after.blocks == ()


# Which cases.


def test_only_the_selected_cases_change(manifest):
    edited = edit(manifest, drop=["liver"], where="dataset = 'btcv' and hu_mean > 0")
    assert edited.case("msd_liver/1") == manifest.case("msd_liver/1")
    assert all(edited.case(c).merged[1] == 0 for c in ("btcv/1", "btcv/2"))


def test_condition_is_about_the_cases_before_the_edit(manifest):
    where = "list_contains(annotated, 'liver')"
    edited = edit(manifest, drop=["liver"], merge=[["spleen", "pancreas"]], where=where)
    assert edited.case("btcv/1").merged == (0, 0, 2, 2, 4, 5)


def test_everything_else_stays(manifest):
    edited = edit(manifest, drop=["spleen"])
    changed = {
        name
        for name in manifest.table.column_names
        if not edited.table[name].equals(manifest.table[name])
    }
    assert changed == {"blocks", "merged", "annotated", "voxels", "volume_ml"}
    assert edited.table.schema.equals(manifest.table.schema, check_metadata=True)


def test_edits_are_recorded_in_order(manifest):
    once = edit(manifest, drop=["spleen"], where="dataset = 'btcv'")
    twice = edit(once, merge=[["right_kidney", "left_kidney"]])
    assert twice.settings["edits"] == [
        {"drop": ["spleen"], "merge": [], "where": "dataset = 'btcv'", "cases": 2},
        {"drop": [], "merge": [["left_kidney", "right_kidney"]], "where": None, "cases": 2},
    ]
    assert "edits" not in manifest.settings


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"drop": ["spleeen"]}, "unknown structure 'spleeen'; did you mean 'spleen'"),
        ({"merge": [["liver", "spleeen"]]}, "unknown structure 'spleeen'"),
        ({"drop": ["stomach"]}, "none of 3 selected cases has a label for stomach"),
        ({"drop": ["spleen"], "where": "dataset = 'msd_liver'"}, "none of 1 selected cases"),
        ({"drop": ["spleen"], "where": "false"}, "none of 0 selected cases"),
        ({}, "no structure"),
        ({"drop": ["spleen"], "where": "nonsense = 1"}, "filter 'nonsense = 1' cannot be used"),
    ],
)
def test_edit_that_makes_no_sense(manifest, asked, complaint):
    with pytest.raises(ManifestError, match=complaint):
        edit(manifest, **asked)


def test_structure_that_only_a_recipe_declares(make_case, make_manifest):
    manifest = make_manifest([make_case(blocks=[["liver", "liver_tumour"], ["hepatic_cyst"]])])
    edited = edit(manifest, merge=[["liver", "hepatic_cyst"]])
    assert edited.case("btcv/1").merged == (0,) * 6


@pytest.mark.parametrize(
    "columns",
    [
        {"voxels": (1, 2)},
        {"voxels": (1, 2, 3, None, 5, 6)},
        {"blocks": (("liver",), ("liver", "spleen"))},
    ],
)
def test_damaged_case_is_named(make_case, make_manifest, columns):
    with pytest.raises(ManifestError, match="case btcv/1 is not well formed"):
        edit(make_manifest([replace(make_case(), **columns)]), drop=["liver"])


# Properties.


def one_case(make_case, make_manifest, blocks) -> Manifest:
    return make_manifest([make_case(blocks=[sorted(b) for b in blocks])])


@given(annotations(), some_structures, some_merges)
def test_edit_only_coarsens(blocks, drop, merge):
    fine = merged_classes(blocks, ABDOMEN5)
    coarse = merged_classes(coarsen(blocks, drop=drop, merge=merge), ABDOMEN5)
    assert merge_groups(coarse, groups_of(fine).values()) == coarse


@given(annotations(), some_structures, some_merges)
def test_edit_twice_is_edit_once(blocks, drop, merge):
    once = coarsen(blocks, drop=drop, merge=merge)
    assert coarsen(once, drop=drop, merge=merge) == once


@given(annotations(), some_structures, some_merges, st.randoms())
def test_order_of_edits_is_no_matter(blocks, drop, merge, random):
    together = coarsen(blocks, drop=drop, merge=merge)
    steps = [{"drop": [s]} for s in drop] + [{"merge": [group]} for group in merge]
    random.shuffle(steps)
    one_by_one = blocks
    for step in steps:
        one_by_one = coarsen(one_by_one, **step)
    assert set(one_by_one) == set(together)


@given(annotations(), some_structures)
def test_dropping_is_merging_with_the_background(blocks, drop):
    dropped = coarsen(blocks, drop=drop)
    assert dropped == coarsen(blocks, merge=[{s, "a structure without a label"} for s in drop])


@given(annotations(), some_structures, some_merges, st.integers(0, 2**32 - 1))
def test_edited_manifest_says_what_relabelled_voxels_say(
    make_case, make_manifest, blocks, drop, merge, seed
):
    named = frozenset(drop).union(*merge)
    if not any(named & block for block in blocks):
        return
    manifest = one_case(make_case, make_manifest, blocks)
    before = manifest.case("btcv/1")
    after = edit(manifest, drop=drop, merge=merge).case("btcv/1")

    stored = np.repeat(np.arange(6), before.voxels)
    np.random.default_rng(seed).shuffle(stored)
    loaded = np.asarray(after.merged)[stored]  # what training does with the stored labels
    assert np.bincount(loaded, minlength=6).tolist() == list(after.voxels)
    assert after.volume_ml == pytest.approx([n * VOXEL_ML for n in after.voxels])
    assert merge_groups(after.merged, groups_of(before.merged).values()) == after.merged
    assert set(after.annotated) <= set(before.annotated)


@given(annotations(), some_structures, some_merges)
def test_edited_manifest_is_sound(make_case, make_manifest, problems_of, blocks, drop, merge):
    named = frozenset(drop).union(*merge)
    if any(named & block for block in blocks):
        manifest = one_case(make_case, make_manifest, blocks)
        assert problems_of(edit(manifest, drop=drop, merge=merge), files=False) == []
