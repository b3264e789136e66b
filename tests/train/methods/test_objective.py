"""Objective: regular losses on fully labelled patches, all four on the others."""

from dataclasses import replace

import pytest
import torch

from manifests.classes.label_space import IGNORED
from train.losses import MarginalExclusionLoss
from train.losses.deep_supervision import pool_target
from train.methods.objective import MarginalObjective, batch_loss
from train.patches.sampler import Batch, CompletedLabels
from train.settings import resolve

FULL, LIVER_ONLY = [0, 1, 2], [0, 1, 0]
REGULAR = MarginalExclusionLoss(exclusion_weight=0.0)
PARTIAL = MarginalExclusionLoss(exclusion_weight=2.0)


def make(*rows):
    """A batch of one patch for each row of `merged`, with logits."""
    generator = torch.Generator().manual_seed(0)
    merged = torch.tensor(rows)
    target = torch.randint(3, (len(rows), 4, 4, 4), generator=generator)
    target = torch.stack([row[t] for row, t in zip(merged, target, strict=True)])
    images = torch.zeros(len(rows), 1, 4, 4, 4)
    logits = torch.randn(len(rows), 3, 4, 4, 4, generator=generator)
    return logits, Batch(("a",) * len(rows), images, target, merged)


def loss_of(criterion, logits, batch, rows):
    return criterion(logits[rows], batch.target[rows], batch.merged[rows])


@pytest.fixture
def paper():
    return resolve("paper")


def test_fully_labelled_patches_have_no_exclusion(paper):
    logits, batch = make(FULL, FULL)
    expected = REGULAR(logits, batch.target, batch.merged)
    torch.testing.assert_close(batch_loss(logits, batch, paper)[0], expected)
    assert not torch.isclose(expected, PARTIAL(logits, batch.target, batch.merged))


def test_partly_labelled_patches_have_all_four_losses(paper):
    logits, batch = make(LIVER_ONLY, LIVER_ONLY)
    expected = PARTIAL(logits, batch.target, batch.merged)
    torch.testing.assert_close(batch_loss(logits, batch, paper)[0], expected)


def test_a_mixed_batch_is_the_mean_over_its_patches(paper):
    logits, batch = make(FULL, LIVER_ONLY, LIVER_ONLY)
    full, partial = loss_of(REGULAR, logits, batch, [0]), loss_of(PARTIAL, logits, batch, [1, 2])
    torch.testing.assert_close(batch_loss(logits, batch, paper)[0], (full + 2 * partial) / 3)


def test_weights_and_options_reach_the_losses():
    chosen = {"exclusion_weight": 0.5, "class_reduction": "mean", "smooth": 1.0, "epsilon": 0.5}
    settings = resolve("paper", [f"{key}={value}" for key, value in chosen.items()])
    logits, batch = make(LIVER_ONLY)
    expected = MarginalExclusionLoss(**chosen)(logits, batch.target, batch.merged)
    torch.testing.assert_close(batch_loss(logits, batch, settings)[0], expected)


def test_options_of_dice_and_a_share_of_exclusion_reach_the_losses():
    chosen = {"dice_groups": "single", "batch_dice": True}
    settings = resolve("paper", ["dice_groups=single", "batch_dice=true"])
    logits, batch = make(LIVER_ONLY, LIVER_ONLY)
    expected = MarginalExclusionLoss(exclusion_weight=0.5, **chosen)
    found = batch_loss(logits, batch, settings, exclusion_share=0.25)[0]
    torch.testing.assert_close(found, expected(logits, batch.target, batch.merged))
    assert not torch.isclose(found, PARTIAL(logits, batch.target, batch.merged))


def test_levels_are_weighted_by_their_resolution_and_the_finest_gives_the_terms(paper):
    logits, batch = make(FULL, LIVER_ONLY)
    coarse = torch.randn(2, 3, 2, 2, 2)
    target, images = pool_target(batch.target, 3, (2, 2, 2)), torch.zeros(2, 1, 2, 2, 2)
    pooled = replace(batch, images=images, target=target)
    finest, terms = batch_loss(logits, batch, paper)
    total, found = batch_loss((logits, coarse), batch, paper)
    expected = (finest + batch_loss(coarse, pooled, paper)[0] / 2) / 1.5
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(found, terms)


def test_label_smoothing_reaches_the_loss():
    logits, batch = make(FULL)
    smoothed = resolve("paper", ["label_smoothing=0.1", "terms=marginal_cross_entropy"])
    expected = torch.nn.functional.cross_entropy(logits, batch.target, label_smoothing=0.1)
    torch.testing.assert_close(batch_loss(logits, batch, smoothed)[0], expected)


def test_the_regular_method_takes_what_is_not_labelled_for_background():
    logits, batch = make(FULL, LIVER_ONLY)
    expected = REGULAR(logits, batch.target, torch.tensor([FULL, FULL]))
    regular = resolve("paper", ["method=regular"])
    torch.testing.assert_close(batch_loss(logits, batch, regular)[0], expected)
    marginal = batch_loss(logits, batch, resolve("paper"))[0]
    assert not torch.isclose(expected, marginal)


def completed(batch, *rows):
    """A batch whose patches have these merged classes in a completed label; None has none."""
    merged = [
        own.tolist() if row is None else row for own, row in zip(batch.merged, rows, strict=True)
    ]
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(3, batch.target.shape, generator=generator)
    target = torch.stack([torch.tensor(r)[t] for r, t in zip(merged, target, strict=True)])
    target[:, 0] = IGNORED
    target[[row is None for row in rows]] = IGNORED
    return replace(batch, completed=CompletedLabels(target, torch.tensor(merged)))


@pytest.mark.parametrize("overrides", [[], ["class_reduction=mean"], ["batch_dice=true"]])
def test_completed_labels_have_the_losses_once_more_with_a_weight(overrides):
    """L = mean over patches of L_b(annotated) + w L_b(completed), the latter 0 where there is none.

    In float64, patch by patch; the Dice of a batch mixes only the two LIVER_ONLY patches.
    """
    settings = resolve("paper", ["pseudo_weight=0.3", *overrides])
    logits, batch = make(FULL, LIVER_ONLY, LIVER_ONLY)
    logits = logits.double().requires_grad_()
    batch = completed(batch, None, FULL, None)
    objective = MarginalObjective(settings, (), torch.nn.Identity())
    found, terms = objective.loss(lambda _: logits, batch)
    annotated, expected_terms = batch_loss(logits, batch, settings)
    options = {"class_reduction": settings.class_reduction}
    # the completed label of the one patch that has one is full: no exclusion
    more = MarginalExclusionLoss(exclusion_weight=0.0, **options)
    second = more(logits[1:2], batch.completed.target[1:2], batch.completed.merged[1:2])
    expected = annotated + 0.3 * second / 3
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms, expected_terms)
    gradients = [torch.autograd.grad(v, logits, retain_graph=True)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-15)


def test_partly_completed_labels_have_exclusion_too():
    settings = resolve("paper", ["pseudo_weight=2"])
    logits, batch = make(LIVER_ONLY)
    batch = completed(batch, LIVER_ONLY)
    objective = MarginalObjective(settings, (), torch.nn.Identity())
    both = [PARTIAL(logits, t, batch.merged) for t in (batch.target, batch.completed.target)]
    torch.testing.assert_close(objective.loss(lambda _: logits, batch)[0], both[0] + 2 * both[1])


@pytest.mark.parametrize("overrides", [["pseudo_weight=0"], ["method=regular"]])
def test_without_a_weight_completed_labels_are_not_there(overrides):
    settings = resolve("paper", overrides)
    logits, batch = make(FULL, LIVER_ONLY)
    objective = MarginalObjective(settings, (), torch.nn.Identity())
    losses = [
        objective.loss(lambda _: logits, each)[0] for each in (batch, completed(batch, None, FULL))
    ]
    assert losses[0].equal(losses[1])


def test_parts_of_a_batch_keep_their_completed_labels():
    _, batch = make(FULL, LIVER_ONLY, LIVER_ONLY)
    whole = completed(batch, None, FULL, LIVER_ONLY)
    part = whole.part(1, 3).completed
    assert part.target.equal(whole.completed.target[1:])
    assert part.merged.tolist() == [FULL, LIVER_ONLY]


def test_without_a_marginal_weight_only_fully_labelled_patches_have_regular_losses():
    """Exclusion alone: the ratio 0:1 of Table 5."""
    alone = MarginalExclusionLoss(marginal_weight=0.0, exclusion_weight=2.0)
    logits, batch = make(FULL, LIVER_ONLY)
    full, partial = loss_of(REGULAR, logits, batch, [0]), loss_of(alone, logits, batch, [1])
    settings = resolve("paper", ["marginal_weight=0"])
    torch.testing.assert_close(batch_loss(logits, batch, settings)[0], (full + partial) / 2)
    logits, batch = make(FULL)
    torch.testing.assert_close(
        batch_loss(logits, batch, settings)[0], REGULAR(logits, batch.target, batch.merged)
    )
