"""Stages and learning rates, epoch by epoch."""

import pytest

from train.planning.schedule import Stages, exclusion_share, extend_first_stage, learning_rate
from train.settings import resolve

LEARNT, UNLEARNT = (
    {("a", "liver"): 0.9, ("a", "spleen"): 0.8},
    {("a", "liver"): 0.9, ("a", "spleen"): 0.0},
)


def rate_after(settings, losses, steps):
    return learning_rate(settings, Stages.of(settings), losses, steps)


def test_poly_falls_from_the_learning_rate_towards_zero():
    settings = resolve("default", ["stage_epochs=2,8"])
    rates = [rate_after(settings, [1.0] * n, (10, 40)) for n in range(10)]
    assert rates[0] == settings.learning_rate
    assert rates[2] == pytest.approx(1e-2 * (1 - 20 / 340) ** 0.9)  # counted in batches
    assert rates[6] == pytest.approx(1e-2 * (1 - 180 / 340) ** 0.9)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


STEPS = (250, 1250)


def test_plateau_decays_by_a_fifth_after_ten_epochs_without_a_fall_of_a_thousandth():
    settings = resolve("paper", ["stage_epochs=0,100"])
    stuck = [1.0] + [1.0 - 1e-4 * n for n in range(1, 10)]
    assert rate_after(settings, stuck, STEPS) == pytest.approx(0.1)
    assert rate_after(settings, [*stuck, 0.9995], STEPS) == pytest.approx(0.08)
    assert rate_after(settings, [*stuck, 0.99], STEPS) == pytest.approx(0.1)
    assert rate_after(settings, [1.0] * 21, STEPS) == pytest.approx(0.064)
    assert learning_rate(
        settings, Stages.of(settings), [1.0 - 1e-2 * n for n in range(50)], STEPS
    ) == pytest.approx(0.1)


def test_plateau_forgets_the_first_stage_losses_but_keeps_its_decays():
    settings = resolve("paper", ["stage_epochs=11,20"])
    falling = [9.0 - n for n in range(9)]
    assert learning_rate(
        settings, Stages.of(settings), [0.1] * 11 + falling, STEPS
    ) == pytest.approx(0.08)


def test_poly_stands_still_in_epochs_that_were_added():
    settings = resolve("tiny", ["stage_epochs=2,2"])
    plain, longer = Stages(2, 2), Stages(2, 2, added=3)
    as_planned = [learning_rate(settings, plain, [1.0] * n, (10, 40)) for n in range(4)]
    rates = [learning_rate(settings, longer, [1.0] * n, (10, 40)) for n in range(7)]
    assert rates == [*as_planned[:2], *[as_planned[2]] * 3, *as_planned[2:]]


def test_the_exclusion_weight_rises_in_the_second_stage():
    stages = Stages(2, 8, added=1)
    ramp = resolve("tiny", ["exclusion_ramp=0.5"])
    shares = [exclusion_share(ramp, stages, epochs) for epochs in range(11)]
    assert shares[3:] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert {exclusion_share(resolve("tiny"), stages, epochs) for epochs in range(11)} == {1}


def test_the_first_stage_comes_first():
    assert [Stages(2, 1).of_epoch(epoch) for epoch in range(3)] == [1, 1, 2]
    assert [Stages(2, 1, added=1).of_epoch(epoch) for epoch in range(4)] == [1, 1, 1, 2]
    assert Stages(2, 1, added=1).epochs == 4


def test_first_stage_goes_on_until_every_class_is_learnt():
    settings = resolve("tiny", ["stage_epochs=5,4", "first_stage_dice=0.1"])
    stages = Stages.of(settings)
    assert extend_first_stage(stages, settings, 5, LEARNT) == stages
    assert extend_first_stage(stages, settings, 4, UNLEARNT) == stages  # it is not over
    longer = extend_first_stage(stages, settings, 5, UNLEARNT)
    assert longer == Stages(5, 4, added=1)
    longer = extend_first_stage(longer, settings, 6, {})  # no validation here
    assert longer == Stages(5, 4, added=2)
    assert extend_first_stage(longer, settings, 7, LEARNT) == longer
    assert extend_first_stage(longer, settings, 8, UNLEARNT) == longer  # the second stage runs


def test_first_stage_at_most_doubles():
    settings = resolve("tiny", ["stage_epochs=5,4", "first_stage_dice=0.1"])
    longest = Stages(5, 4, added=5)
    assert extend_first_stage(Stages(5, 4, added=4), settings, 9, UNLEARNT) == longest
    assert extend_first_stage(longest, settings, 10, UNLEARNT) == longest


@pytest.mark.parametrize(
    ("overrides", "cells"),
    [
        (["stage_epochs=5,4", "first_stage_dice=0"], UNLEARNT),
        (["stage_epochs=5,0", "first_stage_dice=0.1"], UNLEARNT),
        (["stage_epochs=5,4", "first_stage_dice=0.1"], {}),  # nothing to judge by
        # one dataset of two suffices
        (["stage_epochs=5,4", "first_stage_dice=0.1"], {("a", "liver"): 0.0, ("b", "liver"): 0.5}),
    ],
)
def test_first_stage_is_as_long_as_the_settings_say(overrides, cells):
    settings = resolve("tiny", overrides)
    assert extend_first_stage(Stages.of(settings), settings, 5, cells) == Stages.of(settings)
