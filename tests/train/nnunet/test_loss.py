"""The loss and the online Dice of our trainer, without nnU-Net."""

import numpy as np
import pytest
import torch

from train.losses import MarginalExclusionLoss
from train.nnunet.loss import PartialLabelLoss
from train.nnunet.online_dice import count_voxels

FULL, LIVER_ONLY = (0, 1, 2), (0, 1, 0)


def loss_of(*merged, batch_dice=False, exclusion=True):
    loss = PartialLabelLoss(3, exclusion=exclusion, batch_dice=batch_dice)
    loss.merged = merged
    return loss


def draw(batch=2, size=8):
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (batch, 1, size, size, size), generator=generator)
    logits = torch.randn(batch, 3, size, size, size, generator=generator)
    return logits, target


def reference(logits, target, merged):
    """The loss of whole samples, whose labels are made representatives first."""
    labels = torch.tensor(merged)[target[:, 0]]
    weight = 0.0 if merged == FULL else 2.0
    loss = MarginalExclusionLoss(exclusion_weight=weight, class_reduction="mean")
    return loss(logits, labels, torch.tensor([merged] * len(logits)))


def test_a_fully_and_a_partly_labelled_sample_share_a_batch():
    logits, target = draw()
    expected = [
        reference(logits[b : b + 1], target[b : b + 1], m) for b, m in enumerate((FULL, LIVER_ONLY))
    ]
    torch.testing.assert_close(
        loss_of(FULL, LIVER_ONLY)(logits, target), torch.stack(expected).mean()
    )


@pytest.mark.parametrize("uncounted", [-1, 3])
def test_padding_and_the_ignore_value_count_nowhere(uncounted):
    logits, target = draw()
    padded = target.clone()
    padded[0, :, :6] = uncounted
    loss = loss_of(FULL, LIVER_ONLY)(logits, padded)
    expected = [
        reference(logits[:1, :, 6:], target[:1, :, 6:], FULL),
        reference(logits[1:], target[1:], LIVER_ONLY),
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_no_gradient_reaches_uncounted_voxels():
    logits, target = draw()
    logits.requires_grad_()
    target[:, :, :4] = -1
    loss_of(FULL, LIVER_ONLY)(logits, target).backward()
    assert (logits.grad[:, :, :4] == 0).all()
    assert (logits.grad[:, :, 4:] != 0).any()


def test_a_batch_without_any_counted_voxel_costs_nothing():
    logits, target = draw()
    logits.requires_grad_()
    value = loss_of(FULL, LIVER_ONLY)(logits, torch.full_like(target, -1))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def test_batch_dice_is_that_of_the_samples_together():
    logits, target = draw()
    loss = loss_of(LIVER_ONLY, LIVER_ONLY, batch_dice=True)(logits, target)
    together = reference(torch.cat([*logits], 1)[None], torch.cat([*target], 1)[None], LIVER_ONLY)
    torch.testing.assert_close(loss, together)


def test_batch_dice_pools_samples_of_the_same_annotation_only():
    logits, target = draw(3)
    target[2, :, :4] = -1
    loss = loss_of(LIVER_ONLY, FULL, LIVER_ONLY, batch_dice=True)(logits, target)
    kept = torch.cat([logits[0].flatten(1), logits[2, :, 4:].flatten(1)], 1)[None]
    labels = torch.cat([target[0].flatten(), target[2, :, 4:].flatten()])[None, None]
    full = reference(logits[1:2], target[1:2], FULL)
    torch.testing.assert_close(loss, (2 * reference(kept, labels, LIVER_ONLY) + full) / 3)


def test_without_exclusion_only_marginal_losses_count():
    logits, target = draw(1)
    labels = torch.tensor(LIVER_ONLY)[target[:, 0]]
    marginal = MarginalExclusionLoss(exclusion_weight=0.0, class_reduction="mean")
    expected = marginal(logits, labels, torch.tensor([LIVER_ONLY]))
    torch.testing.assert_close(loss_of(LIVER_ONLY, exclusion=False)(logits, target), expected)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_levels_have_their_weights_and_one_without_is_not_computed(batch_dice):
    outputs, targets = zip(*(draw(size=size) for size in (8, 4, 2)), strict=True)
    options = {"exclusion": True, "batch_dice": batch_dice}
    loss = PartialLabelLoss(3, level_weights=(2 / 3, 1 / 3, 0.0), **options)
    one = PartialLabelLoss(3, **options)
    loss.merged = one.merged = FULL, LIVER_ONLY
    expected = (2 * one(outputs[0], targets[0]) + one(outputs[1], targets[1])) / 3
    nan = torch.full_like(outputs[2], torch.nan)
    torch.testing.assert_close(loss([*outputs[:2], nan], list(targets)), expected)


def test_half_precision_logits_give_the_loss_of_single_precision():
    logits, target = draw()
    half = logits.half()
    loss = loss_of(FULL, LIVER_ONLY)
    expected = loss(half.float(), target)
    with torch.autocast("cpu", dtype=torch.float16):
        found = loss(half, target)
    assert found.dtype == torch.float32  # scaled by 65,536, it would not fit into float16
    torch.testing.assert_close(found, expected)


def test_online_dice_counts_groups_that_a_case_tells_apart():
    predicted = torch.tensor([[0, 1, 2, 3, 1], [0, 1, 2, 3, 1]])
    target = torch.tensor([[0, 1, 3, 3, -1], [1, 1, 0, 0, 9]])
    merged = ((0, 1, 2, 2), (0, 1, 0, 0))
    counts = count_voxels(predicted, target, merged, ((1,), (2,), (3,), (2, 3)))
    np.testing.assert_array_equal(counts["tp_hard"], [2, 0, 0, 2])
    np.testing.assert_array_equal(counts["fp_hard"], [0, 0, 0, 0])
    np.testing.assert_array_equal(counts["fn_hard"], [1, 0, 0, 0])
