"""Joined labels: what two annotations of one image say together, with known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.labels.joined import Annotation, finest_of_both, join
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import groups_of, is_merged, merge_groups, merged_classes

ABDOMEN5 = load_label_space("abdomen5")
LIVER = [{"liver", "liver_tumour"}]
SPLEEN = [{"spleen"}]
KIDNEYS = [{"left_kidney", "right_kidney"}, {"left_kidney_tumour", "right_kidney_tumour"}]
ALL = [set(c.structures) for c in ABDOMEN5.classes]


def annotation(blocks, ids, space=ABDOMEN5):
    blocks = tuple(map(frozenset, blocks))
    return Annotation(blocks, merged_classes(blocks, space), np.array(ids, np.uint8))


def test_liver_and_spleen_together():
    joined = join(annotation(LIVER, [0, 1, 1, 0]), annotation(SPLEEN, [0, 0, 0, 2]), ABDOMEN5)
    assert joined.annotation.merged == (0, 1, 2, 0, 0, 0)
    assert joined.annotation.ids.tolist() == [0, 1, 1, 2]
    assert set(joined.annotation.blocks) == {frozenset(b) for b in (*LIVER, *SPLEEN)}
    assert (joined.conflicts, joined.worst) == (0, 0.0)


def test_where_liver_and_spleen_overlap_is_a_conflict_and_the_first_is_believed():
    liver, spleen = annotation(LIVER, [0, 1, 1, 1, 1]), annotation(SPLEEN, [2, 2, 0, 0, 0])
    one, other = join(liver, spleen, ABDOMEN5), join(spleen, liver, ABDOMEN5)
    assert one.annotation.ids.tolist() == [2, 1, 1, 1, 1]
    assert other.annotation.ids.tolist() == [2, 2, 1, 1, 1]
    assert (one.conflicts, one.worst) == (other.conflicts, other.worst) == (1, 0.5)


def test_both_annotate_the_liver_and_their_edges_differ():
    joined = join(annotation(LIVER, [0, 1, 1, 0]), annotation(ALL, [0, 0, 1, 1]), ABDOMEN5)
    # what the liver's annotator calls no liver may be anything else, but not the liver
    assert joined.annotation.merged == tuple(range(6))
    assert joined.annotation.ids.tolist() == [0, 1, 1, 0]
    assert (joined.conflicts, joined.worst) == (2, 0.5)


def test_kidneys_that_one_does_not_tell_apart_are_told_apart_by_the_other():
    first = annotation(KIDNEYS, [0, 4, 4, 4])
    joined = join(first, annotation(ALL, [0, 4, 5, 0]), ABDOMEN5)
    assert first.merged == (0, 0, 0, 0, 4, 4)
    assert joined.annotation.merged == tuple(range(6))
    # the last is a kidney of no side to one and nothing to the other: no side is made up
    assert joined.annotation.ids.tolist() == [0, 4, 5, 0]
    assert joined.conflicts == 1


def test_an_organ_in_two_halves_is_not_made_up():
    """One labels the liver without its tumours, the other the tumours: the volumes say neither."""
    without, tumours = annotation([{"liver"}], [0, 0]), annotation([{"liver_tumour"}], [0, 0])
    joined = join(without, tumours, ABDOMEN5)
    assert joined.annotation.merged == (0,) * 6
    assert joined.annotation.blocks == ()


def test_classes_that_only_structures_could_tell_apart_are_not_joined():
    crossed = [{"liver", "spleen"}, {"liver_tumour", "pancreas"}]
    other = [{"liver", "pancreas"}, {"liver_tumour", "spleen"}]
    joined = join(annotation(crossed, [1]), annotation(other, [1]), ABDOMEN5)
    assert joined is None or merged_classes(joined.annotation.blocks, ABDOMEN5) == (
        joined.annotation.merged
    )


@st.composite
def blocks(draw):
    structures = sorted(ABDOMEN5.structures)
    places = draw(st.lists(st.integers(0, 4), min_size=len(structures), max_size=len(structures)))
    groups = [
        {s for s, p in zip(structures, places, strict=True) if p == place} for place in (1, 2, 3, 4)
    ]
    return tuple(frozenset(g) for g in groups if g)


@settings(max_examples=200, deadline=None)
@given(blocks(), blocks())
def test_join_of_any_two(one, other):
    merged = [merged_classes(b, ABDOMEN5) for b in (one, other)]
    ids = [np.array([m[t] for t in range(6)], np.uint8) for m in merged]  # the truth: 0 to 5
    joined = join(
        Annotation(one, merged[0], ids[0]), Annotation(other, merged[1], ids[1]), ABDOMEN5
    )
    finest = finest_of_both(*merged)
    assert is_merged(finest)
    assert all(merge_groups(m, groups_of(finest).values()) == m for m in merged)
    if joined is not None:
        assert joined.annotation.merged == finest
        assert joined.annotation.ids.tolist() == list(finest)  # two truths make no conflict
        assert joined.conflicts == 0


@pytest.mark.parametrize("merged", [(0, 1, 2), (0, 0, 0), (0, 1, 1)])
def test_finest_of_both_is_the_one_if_the_other_says_nothing_or_the_same(merged):
    assert finest_of_both(merged, merged) == merged
    assert finest_of_both(merged, (0, 0, 0)) == merged
    assert finest_of_both((0, 1, 2), merged) == (0, 1, 2)
