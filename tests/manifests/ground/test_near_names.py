"""Near names: what somebody may have meant."""

import pytest

from manifests.ground.near_names import did_you_mean, near_names


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("epochs", "stage_epochs"),
        ("dataset", "datasets"),
        ("s001", "mine/s001"),
        ("LIVER", "liver"),
    ],
)
def test_the_name_that_was_meant_comes_first(word, meant):
    known = ["stage_epochs", "datasets", "mine/s001", "mine/s002", "liver", "overlap"]
    assert near_names(word, known)[0] == meant


def test_nothing_is_proposed_where_nothing_is_near():
    assert did_you_mean("xyz", ["liver"]) == ""
    assert did_you_mean("livr", ["liver"]) == "; did you mean 'liver'?"
