"""The completed label: an annotator's word holds, and a network divides only what was open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.classes.completion import finer_classes, is_finer, origins_of
from manifests.classes.label_space import IGNORED
from train.completion.label import completed_label

# background, liver, spleen, left kidney, right kidney
LIVER_ONLY = (0, 1, 0, 0, 0)
KIDNEYS_AS_ONE = (0, 1, 2, 3, 3)
EVERY = {1, 2, 3, 4}


def complete(target, merged, predicted, known=EVERY):
    volumes = (np.array(row, np.uint8).reshape(1, 1, -1) for row in (target, predicted))
    target, predicted = volumes
    label, finer = completed_label(target, merged, predicted, known)
    return label.ravel().tolist(), finer


def test_what_is_open_gets_the_network_s_class_and_the_rest_stays():
    target = [1, 1, 0, 0, 0, 0, IGNORED, IGNORED]
    predicted = [1, 2, 0, 2, 1, IGNORED, 2, IGNORED]
    label, finer = complete(target, LIVER_ONLY, predicted)
    # in the fifth voxel the network says liver, where the annotator says that there is none
    assert label == [1, 1, 0, 2, IGNORED, IGNORED, IGNORED, IGNORED]
    assert finer == (0, 1, 2, 0, 0)
    assert origins_of(LIVER_ONLY, finer) == ("none", "annotated", "model", "none", "none")


def test_a_class_that_is_nowhere_stays_open():
    """A model that missed an organ would teach that there is none."""
    assert complete([1, 0, 0], LIVER_ONLY, [1, 0, IGNORED]) == ([1, 0, 0], LIVER_ONLY)


def test_the_background_is_told_apart_once_every_class_is():
    label, finer = complete([1, 0, 0, 0, 0], LIVER_ONLY, [1, 0, 2, 3, 4])
    assert (label, finer) == ([1, 0, 2, 3, 4], (0, 1, 2, 3, 4))
    assert origins_of(LIVER_ONLY, finer)[0] == "model"


def test_a_kidney_of_either_side_gets_its_side_if_both_are_found():
    both = complete([3, 3, 3, 0], KIDNEYS_AS_ONE, [3, 4, IGNORED, 4])
    assert both == ([3, 4, IGNORED, 0], (0, 1, 2, 3, 4))
    # with one side alone, nothing would be left of the other, as if it were known to be absent
    assert complete([3, 3, 0], KIDNEYS_AS_ONE, [3, IGNORED, 0]) == ([3, 3, 0], KIDNEYS_AS_ONE)


def test_a_class_that_the_network_never_learnt_stays_with_the_background():
    label, finer = complete([1, 0, 0, 0], LIVER_ONLY, [1, 0, 2, 3], known={1, 2})
    assert (label, finer) == ([1, 0, 2, 0], (0, 1, 2, 0, 0))


def test_a_fully_labelled_case_gains_nothing():
    assert complete([0, 1, 2], (0, 1, 2, 3, 4), [2, 2, 2]) == ([0, 1, 2], (0, 1, 2, 3, 4))


@st.composite
def cases(draw):
    merged = [0]
    for n in range(1, 5):
        merged.append(draw(st.sampled_from(sorted({*merged, n}))))
    values = st.sampled_from([*sorted(set(merged)), IGNORED])
    target = draw(st.lists(values, min_size=1, max_size=12))
    predicted = draw(
        st.lists(
            st.sampled_from([0, 1, 2, 3, 4, IGNORED]), min_size=len(target), max_size=len(target)
        )
    )
    return target, tuple(merged), predicted, draw(st.sets(st.integers(1, 4)))


@given(cases())
def test_the_annotators_word_holds(case):
    target, merged, _, known = case
    label, finer = complete(*case)
    assert is_finer(finer, merged)
    back = [n if n == IGNORED else merged[n] for n in label]
    assert all(b in (t, IGNORED) for b, t in zip(back, target, strict=True))
    assert {n for n in label if n != IGNORED} <= set(finer)
    # what the annotator told apart is not even ignored
    alone = {m for m in merged if merged.count(m) == 1}
    assert all(n == t for n, t in zip(label, target, strict=True) if t in alone)
    # a class of the model's is somewhere, and so is what is left of its group
    divided = {finer[n] for n in range(5) if finer[n] != merged[n] or finer.count(n) == 1}
    assert {n for n in divided if merged.count(merged[n]) > 1} <= set(label)
    # the label alone says which classes were told apart
    assert finer_classes(merged, set(label), known) == finer


@pytest.mark.parametrize(
    ("finer", "holds"),
    [
        ((0, 1, 0, 0, 0), True),
        ((0, 1, 2, 0, 0), True),
        ((0, 0, 0, 0, 0), False),
        ((0, 1, 1, 0, 0), False),
        ((0, 1, 0, 0), False),
        ((1, 1, 0, 0, 0), False),
    ],
)
def test_finer_classes_divide_groups(finer, holds):
    assert is_finer(finer, LIVER_ONLY) is holds
