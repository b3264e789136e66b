"""How long nnU-Net's training keeps to the fully labelled cases."""

from math import nan

import pytest

from train.nnunet.first_stage import in_first_stage

EPOCHS = 20  # of which 6 are planned for the first stage


def length(dice):
    """Epochs of the first stage, of a training in which each epoch's Dice is as given."""
    return sum(in_first_stage(epoch, EPOCHS, dice[:epoch]) for epoch in range(EPOCHS))


@pytest.mark.parametrize(
    ("dice", "epochs"),
    [
        ([(0.9, 0.1)] * 20, 6),
        ([(0.9, 0.09)] * 20, 12),  # twice as long at most
        ([(0.9, 0.0)] * 8 + [(0.9, 0.2)] * 12, 9),
        ([(0.9, 0.0)] * 8 + [(0.9, 0.2)] + [(0.0, 0.0)] * 11, 9),  # once ended, it stays so
        ([(0.9, 0.5)] * 3 + [(0.0, 0.5)] * 17, 12),  # learnt, and lost again
        # no patch of a case that annotates it, in some epochs or in all
        ([(0.9, nan), (0.9, 0.3)] + [(0.9, nan)] * 18, 6),
        ([(0.9, 0.0)] + [(0.9, nan)] * 19, 12),
        ([(nan, nan)] * 20, 6),
    ],
)
def test_it_ends_when_every_class_is_learnt(dice, epochs):
    assert length(dice) == epochs


def test_a_training_of_one_epoch_has_none():
    assert not in_first_stage(0, 1, [])
