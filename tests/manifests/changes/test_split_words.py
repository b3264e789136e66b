"""Splits in words."""

import pytest

from manifests.changes.split_words import left_for_training, new_splits, split_rule
from manifests.changes.splits import SplitRequest, assign_splits, keep_splits

TENTHS = SplitRequest(test=0.2, validation=0.1, seed=3)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (TENTHS, "test 20 % of each dataset; validation 10 % of each dataset; the rest is for tr"),
        (SplitRequest(test_by_dataset={"a": 6}), "test 6 cases of a; the rest"),
        (SplitRequest(test=2, test_by_dataset={"a": 0.5}), "test 2 cases of each other data"),
        (SplitRequest(), "all cases are for training"),
        (SplitRequest(given={"a/1": "test"}), "as the file of splits says"),
    ],
)
def test_the_rule(request_, words):
    assert split_rule(request_).startswith(words)


@pytest.fixture
def ten(make_case, make_manifest):
    return make_manifest([make_case(f"a/{n}", split=None) for n in range(10)])


def test_what_is_left_for_training(ten):
    split = assign_splits(ten, SplitRequest(test=0.9))
    left, validation = left_for_training(split)
    assert left == "left for training: a 1 of 10"
    assert validation.startswith("no case is for validation")
    _, none, _ = left_for_training(assign_splits(ten, SplitRequest(test=10)))
    assert none.startswith("a: no case is left for training")
    assert len(left_for_training(assign_splits(ten, TENTHS))) == 1


def test_only_new_cases_are_told(ten, make_case, make_manifest):
    first = assign_splits(ten, TENTHS)
    assert new_splits(first, None).startswith(
        "splits of 10 new cases: 7 train, 1 validation, 2 test (test 20 % of each dataset; "
    )
    assert new_splits(first, first) == ""
    more = make_manifest([*first.cases(), make_case("b/0", split=None)])
    said = new_splits(keep_splits(more, first, TENTHS), first)
    assert said.startswith("splits of 1 new cases: 1 train (")
    assert "the others keep their splits" in said
