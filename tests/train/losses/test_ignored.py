"""Voxels that nobody looked at: every loss is that of the same batch cropped to the others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.classes.label_space import IGNORED
from tests.train.losses.test_marginal_exclusion import TERMS, batches, mixture, reference
from train.losses import MarginalExclusionLoss
from train.losses.deep_supervision import pool_target
from train.losses.label_set import leaf_dice
from train.methods.rivals.pann import pseudo_labels

each_implementation = pytest.mark.parametrize("implementation", ["fused", "eager"])
OPTIONS = ({}, {"class_reduction": "mean", "smooth": 1.0, "epsilon": 0.3, "label_smoothing": 0.1})


def ignoring(example, *, share=0.4, seed=0):
    """Hide some voxels of each sample; return the batch, and which are left."""
    logits, target, merged = example
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(target.shape, generator=generator) < share
    return (logits, target.masked_fill(hidden, IGNORED), merged), ~hidden


def cropped(example, seen):
    """Each sample on its own, with the voxels that are left alone; none without any."""
    for logits, target, merged, left in zip(*example, seen, strict=True):
        if left.any():
            yield logits[:, left][None], target[left][None], merged[None]


def terms_and_gradient(example, **options):
    logits, target, merged = example
    leaf = logits.clone().requires_grad_()
    terms = MarginalExclusionLoss(**options).terms(leaf, target, merged)
    return terms, torch.autograd.grad(sum(terms.values()), leaf)[0]


@each_implementation
@given(example=batches(), share=st.sampled_from([0.2, 0.6, 0.95]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_loss_is_that_of_the_voxels_that_are_left(implementation, example, share, seed):
    hiding, seen = ignoring(example, share=share, seed=seed)
    crops = list(cropped(hiding, seen))
    for options in OPTIONS:
        terms, gradient = terms_and_gradient(hiding, implementation=implementation, **options)
        parts = [
            terms_and_gradient(crop, implementation=implementation, **options) for crop in crops
        ]
        for name, term in terms.items():  # a sample without any voxel costs 0
            expected = sum(of_crop[name].item() for of_crop, _ in parts) / len(seen)
            assert term.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
        slopes = torch.cat([slope[0].T for _, slope in parts] or [gradient.new_zeros(0, 2)])
        where = gradient.movedim(1, -1)
        assert (where[~seen] == 0).all()
        if parts:
            torch.testing.assert_close(where[seen] * len(seen), slopes, rtol=1e-9, atol=1e-12)


@given(example=batches(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_every_loss_is_the_equations_over_the_voxels_that_are_left(example, seed):
    hiding, seen = ignoring(example, seed=seed)
    terms, _ = terms_and_gradient(hiding)
    wanted = [reference(*crop) for crop in cropped(hiding, seen)]
    for name in TERMS:
        expected = sum(of_crop[name] for of_crop in wanted) / len(seen)
        assert terms[name].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@each_implementation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_patch_that_nobody_looked_at_teaches_nothing(implementation, dtype):
    logits, target, merged = mixture(space=(4, 3, 2), scale=1e4, dtype=dtype)
    hidden = torch.full_like(target, IGNORED)
    for options in OPTIONS:
        example = (logits, hidden, merged)
        terms, gradient = terms_and_gradient(example, implementation=implementation, **options)
        assert all(term.item() == 0 for term in terms.values())
        assert (gradient == 0).all()


@each_implementation
@pytest.mark.parametrize("on_device", [False, True])
def test_the_gradient_is_exactly_0_there_whatever_the_logits(
    implementation, on_device, monkeypatch
):
    if on_device:  # where no value is read on the host
        monkeypatch.setattr("train.losses.sample_voxels.would_sync", lambda _: True)
    for scale in (1.0, 1e3, 1e30):
        hiding, seen = ignoring(mixture(space=(5, 4, 3), scale=scale, dtype=torch.float32))
        _, gradient = terms_and_gradient(hiding, implementation=implementation)
        assert gradient.isfinite().all()
        assert (gradient.movedim(1, -1)[~seen] == 0).all()
        assert (gradient.movedim(1, -1)[seen] != 0).any()


# --- coarse levels ----------------------------------------------------------------------------


def test_a_coarse_voxel_is_what_was_seen_of_it_and_ignored_if_nothing_was():
    i = IGNORED
    target = torch.tensor([[1, i, 0, i, i, i, 2, 1, 0, 0]])
    assert pool_target(target, 3, (5,)).tolist() == [[1, 0, i, 2, 0]]
    assert pool_target(torch.full((1, 4), i), 3, (2,)).tolist() == [[i, i]]
    as_bytes = pool_target(target.to(torch.uint8), 3, (5,))
    assert as_bytes.dtype == torch.uint8
    assert as_bytes.tolist() == [[1, 0, i, 2, 0]]


# --- losses of other papers -------------------------------------------------------------------


def test_leaf_dice_is_that_of_the_voxels_that_are_left():
    hiding, seen = ignoring(mixture(space=(4, 3)))
    parts = [leaf_dice(*crop) for crop in cropped(hiding, seen)]
    torch.testing.assert_close(leaf_dice(*hiding), torch.stack(parts).mean())


def test_nobody_guesses_what_was_not_looked_at():
    (logits, target, merged), seen = ignoring(mixture(space=(4, 3)))
    found = pseudo_labels(logits, target, merged)
    assert (found[~seen] == IGNORED).all()
    assert (found[seen] < 4).all()
