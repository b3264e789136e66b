"""Every rival learns by heart what two small cases label."""

import pytest

STEPS = {
    "leaf_dice": 30,
    "pipo_fan": 100,
    "pipo_fan_3d": 30,
    "conditional": 130,
    "dodnet": 100,
    "masked_sigmoid": 40,
}


@pytest.mark.parametrize("method", STEPS)
def test_a_rival_learns_two_cases_by_heart(lesson, method):
    one = lesson(method)
    before = one.dice()
    one.learn(STEPS[method])
    assert max(before) < 0.7
    assert min(one.dice()) > 0.85


def test_pann_does_after_a_stage_on_the_full_case_alone(lesson):
    one = lesson("pann")
    one.learn(40, one.batch.part(0, 1))
    for _ in range(2):
        one.objective.start_epoch(one.network)
        one.learn(10)
    assert min(one.dice()) > 0.85
