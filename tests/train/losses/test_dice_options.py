"""Which groups have a marginal Dice, and over how many samples: against sums in Python's floats."""

import math
from typing import get_args

import pytest
import torch

from manifests.classes.label_space import IGNORED
from train.losses import marginal_dice
from train.losses.options import DiceGroups

SMOOTH = 1e-5
ROWS = ([0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 2, 2], [0, 1, 2, 3])
each_choice = pytest.mark.parametrize("groups", get_args(DiceGroups))
each_implementation = pytest.mark.parametrize("implementation", ["fused", "eager"])


def example():
    """Four patches with an ignored voxel each; one lacks class 1, one class 3."""
    generator = torch.Generator().manual_seed(0)
    merged = torch.tensor(ROWS)
    logits = 2 * torch.randn(4, 4, 5, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (4, 15), generator=generator)
    labels[1][labels[1] == 1] = 0
    labels[3][labels[3] == 3] = 0
    target = merged.gather(1, labels)
    target[:, 7] = IGNORED
    return logits, target.view(4, 5, 3), merged


def sums_of(logits, target, row):
    """Overlap, size and labelled voxels by group, which is the set of its classes."""
    p = logits.flatten(1).softmax(0).T.tolist()
    looked_at = [(q, t) for q, t in zip(p, target.flatten().tolist(), strict=True) if t != IGNORED]
    found = {}
    for m in sorted(set(row)):
        group = tuple(n for n, other in enumerate(row) if other == m)
        q = [math.fsum(v[n] for n in group) for v, _ in looked_at]
        z = [float(t == m) for _, t in looked_at]
        overlap = math.fsum(a * b for a, b in zip(q, z, strict=True))
        found[group] = (overlap, math.fsum(q) + math.fsum(z), math.fsum(z))
    return found


def reference(logits, target, *, groups, together, reduction):
    """The mean over samples of one minus Dice, reduced over the groups that are chosen."""
    samples = [sums_of(*parts) for parts in zip(logits, target, ROWS, strict=True)]
    of_samples = []
    for sample in samples:
        losses = []
        for group in sample:
            others = [s[group] for s in samples if group in s] if together else [sample[group]]
            overlap, size, voxels = (math.fsum(numbers) for numbers in zip(*others, strict=True))
            if groups == "all" or (voxels if groups == "present" else len(group) == 1):
                losses.append(1 - (2 * overlap + SMOOTH) / (size + SMOOTH))
        total = math.fsum(losses)
        of_samples.append(total / max(len(losses), 1) if reduction == "mean" else total)
    return math.fsum(of_samples) / len(of_samples)


@each_implementation
@each_choice
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_value_is_that_of_the_sums(implementation, groups, together, reduction):
    logits, target, merged = example()
    found = marginal_dice(
        logits,
        target,
        merged,
        dice_groups=groups,
        batch_dice=together,
        class_reduction=reduction,
        implementation=implementation,
    )
    expected = reference(logits, target, groups=groups, together=together, reduction=reduction)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@each_choice
@pytest.mark.parametrize("together", [False, True])
def test_the_gradient_is_pytorchs(groups, together):
    logits, target, merged = example()
    found = []
    for implementation in ("fused", "eager"):
        leaf = logits.clone().requires_grad_()
        options = {"dice_groups": groups, "batch_dice": together, "implementation": implementation}
        found += torch.autograd.grad(marginal_dice(leaf, target, merged, **options), leaf)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


def test_the_choices_differ():
    values = {
        reference(*example()[:2], groups=groups, together=together, reduction="mean")
        for groups in get_args(DiceGroups)
        for together in (False, True)
    }
    assert len(values) == 6


def test_one_sample_alone_is_a_batch_of_its_own():
    logits, target, merged = (t[:1] for t in example())
    alone = marginal_dice(logits, target, merged)
    assert marginal_dice(logits, target, merged, batch_dice=True).equal(alone)


@each_implementation
def test_samples_are_taken_together_exactly_under_autocast(implementation):
    logits, target, merged = example()
    options = {"batch_dice": True, "implementation": implementation}
    expected = marginal_dice(logits.float(), target, merged, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = marginal_dice(logits.float(), target, merged, **options)
    torch.testing.assert_close(found, expected)
