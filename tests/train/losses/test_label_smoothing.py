"""Label smoothing: what it is of full labels, of merged ones, and at the extremes."""

import pytest
import torch
from torch.nn import functional

from train.losses import MarginalExclusionLoss, marginal_cross_entropy
from train.losses.marginal_exclusion import uniform_cross_entropy

FULL, LIVER_ONLY, KIDNEYS_AS_ONE, NOTHING = [0, 1, 2, 3], [0, 1, 0, 0], [0, 1, 2, 2], [0] * 4
each_implementation = pytest.mark.parametrize("implementation", ["fused", "eager"])


def random_logits(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def seen(logits):
    """A target of which every voxel was looked at."""
    return torch.zeros_like(logits[:, 0], dtype=torch.long)


@each_implementation
def test_of_full_labels_it_is_torchs(implementation):
    logits, target = random_logits(2, 4, 5, 3), torch.randint(4, (2, 5, 3))
    actual = marginal_cross_entropy(
        logits,
        target,
        torch.tensor([FULL, FULL]),
        label_smoothing=0.1,
        implementation=implementation,
    )
    expected = functional.cross_entropy(logits, target, label_smoothing=0.1)
    torch.testing.assert_close(actual, expected)


@each_implementation
def test_a_label_of_merged_classes_is_the_merged_label(implementation):
    # liver was labelled: 0.8 of it as it is, 0.2 evenly on four classes, three of them merged
    logits, target = random_logits(1, 4, 7), torch.ones(1, 7, dtype=torch.long)
    p = logits.softmax(1)
    q_liver, q_rest = p[:, 1], p[:, 0] + p[:, 2] + p[:, 3]
    expected = -(0.85 * q_liver.log() + 0.15 * q_rest.log()).mean()
    merged = torch.tensor([LIVER_ONLY])
    actual = marginal_cross_entropy(
        logits, target, merged, label_smoothing=0.2, implementation=implementation
    )
    torch.testing.assert_close(actual, expected)


def test_it_smooths_the_marginal_cross_entropy_alone():
    example = random_logits(1, 4, 6), torch.tensor([[0, 1, 1, 2, 2, 0]]), torch.tensor([FULL])
    plain = MarginalExclusionLoss().terms(*example)
    smoothed = MarginalExclusionLoss(label_smoothing=0.1).terms(*example)
    assert [name for name in plain if plain[name] != smoothed[name]] == ["marginal_cross_entropy"]


def test_a_case_without_labels_still_teaches_nothing():
    logits = random_logits(1, 4, 6).requires_grad_()
    uniform = uniform_cross_entropy(logits, seen(logits), torch.tensor([NOTHING])).sum()
    assert uniform.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(uniform, logits)[0].abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_logits_stay_finite(dtype):
    logits = (1e4 * random_logits(2, 4, 9).sign()).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = uniform_cross_entropy(logits, seen(logits), torch.tensor([FULL, KIDNEYS_AS_ONE]))
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert values.max() > 1e3
    assert torch.autograd.grad(values.sum(), logits)[0].isfinite().all()


def test_gradient_is_the_finite_difference():
    merged = torch.tensor([FULL, KIDNEYS_AS_ONE, LIVER_ONLY])
    logits = random_logits(3, 4, 3).requires_grad_()
    target = seen(logits)
    assert torch.autograd.gradcheck(lambda x: uniform_cross_entropy(x, target, merged), logits)
