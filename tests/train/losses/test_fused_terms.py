"""The fused losses against the eager ones: gradients, memory layouts, pieces, types, extremes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.losses import (
    MarginalExclusionLoss,
    exclusion_cross_entropy,
    marginal_cross_entropy,
)
from train.losses.voxel_sums import SumRequest, voxel_sums

FULL, LIVER_ONLY, KIDNEYS_AS_ONE, NOTHING = [0, 1, 2, 3], [0, 1, 0, 0], [0, 1, 2, 2], [0] * 4
MIXTURE = (FULL, LIVER_ONLY, KIDNEYS_AS_ONE, NOTHING)
SLOPES = (0.7, -1.3, 2.1, 0.4)  # other for each term, so that no two can be mixed up


def batch(rows=MIXTURE, space=(5, 4, 3), *, seed=0, scale=3.0, dtype=torch.float64):
    """Logits, target and merged; every sample lacks the last of its groups."""
    generator = torch.Generator().manual_seed(seed)
    merged = torch.tensor(rows)
    shape = (*merged.shape, *space)
    logits = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(merged.shape[1] - 1, (len(merged), *space), generator=generator)
    return logits.to(dtype), merged.gather(1, labels.flatten(1)).view_as(labels), merged


def value_and_gradient(implementation, logits, target, merged, **options):
    leaf = logits.detach().requires_grad_()
    terms = MarginalExclusionLoss(implementation=implementation, **options).terms(
        leaf, target, merged
    )
    total = sum(slope * term for slope, term in zip(SLOPES, terms.values(), strict=True))
    return torch.stack(list(terms.values())), torch.autograd.grad(total, leaf)[0]


def assert_same(logits, target, merged, *, tolerance=1e-9, **options):
    """Fused is eager in float64, relative to the largest derivative."""
    values, gradient = value_and_gradient("fused", logits, target, merged, **options)
    expected, slope = value_and_gradient("eager", logits.double(), target, merged, **options)
    torch.testing.assert_close(values.double(), expected, rtol=tolerance, atol=tolerance)
    error = (gradient.double() - slope).abs().max()
    assert error <= tolerance * slope.abs().max().clamp(min=1e-3 / target[0].numel())
    return gradient


@pytest.fixture
def small_chunks(monkeypatch):
    """So few voxels to a piece that the last one is not full."""
    monkeypatch.setattr("train.losses.chunks._ELEMENTS", 4 * 7)


@given(
    st.lists(st.sampled_from(MIXTURE), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from([0.1, 3.0, 30.0, 3000.0]),
    st.integers(0, 99),
    st.sampled_from([1e-3, 1.0]),
)
@settings(max_examples=50, deadline=None)
def test_fused_is_eager(rows, space, scale, seed, epsilon):
    # the largest scale makes probabilities of 0, of labelled groups too
    assert_same(*batch(rows, space, scale=scale, seed=seed), epsilon=epsilon)


def test_a_single_voxel_and_a_class_that_is_nowhere():
    for row in MIXTURE:
        assert_same(torch.randn(1, 4, 1).double(), torch.tensor([[0]]), torch.tensor([row]))


@pytest.mark.parametrize("classes", [2, 14, 105])
@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_any_number_of_classes(classes, epsilon):
    # 1e-6 to the 104th power is no number of float32: logarithms are not to be taken of products
    rows = [list(range(classes)), [0] * (classes - 1) + [classes - 1]]
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        example = batch(rows, (6, 5), dtype=dtype, scale=0.1)
        assert_same(*example, epsilon=epsilon, tolerance=tolerance)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("scale", [3.0, 3000.0])
def test_chunks_make_the_whole(scale):
    assert_same(*batch(scale=scale))


@pytest.mark.parametrize("implementation", ["fused", "eager"])
@pytest.mark.parametrize(("elements", "batch_dice"), [(4 * 7, True), (1 << 17, False)])
def test_levels_together_are_levels_one_by_one(implementation, elements, batch_dice, monkeypatch):
    monkeypatch.setattr("train.losses.chunks._ELEMENTS", elements)
    spaces, weights = ((5, 4, 3), (3, 2, 2), (1, 1, 1)), (0.6, 0.3, 0.1)
    logits, targets, merged = zip(*(batch(space=space) for space in spaces), strict=True)
    loss = MarginalExclusionLoss(implementation=implementation, batch_dice=batch_dice)
    exclusion = torch.tensor([0.0, 1.0, 1.0, 0.5])
    leaves = [x.requires_grad_() for x in logits]
    together = loss.over_levels(leaves, targets, merged[0], weights, exclusion_of_sample=exclusion)
    one_by_one = sum(
        weight * loss(leaf, target, merged[0], exclusion_of_sample=exclusion)
        for weight, leaf, target in zip(weights, leaves, targets, strict=True)
    )
    torch.testing.assert_close(together, one_by_one)
    for found, expected in zip(
        torch.autograd.grad(together, leaves), torch.autograd.grad(one_by_one, leaves), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "lay_out",
    [
        lambda logits: logits.contiguous(memory_format=torch.channels_last_3d),
        lambda logits: torch.nn.functional.pad(logits, (1, 2, 0, 1, 2, 0))[
            :, :, 2:, :-1, 1:-2
        ],  # cropped, as a padded network's
        lambda logits: logits.transpose(2, 4).contiguous().transpose(2, 4),
        lambda logits: logits[:, :, :1, :1, :1].expand_as(logits),
        lambda logits: logits.transpose(0, 1).contiguous().transpose(0, 1),
    ],
    ids=["channels last", "cropped", "axes swapped", "expanded", "classes first"],
)
def test_any_memory_layout(lay_out):
    logits, target, merged = batch()
    laid_out = lay_out(logits)
    assert not laid_out.is_contiguous()
    assert_same(laid_out, target, merged)


def test_gradient_has_the_memory_layout_of_the_logits():
    logits, target, merged = batch()
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        gradient = assert_same(logits.contiguous(memory_format=layout), target, merged)
        assert gradient.is_contiguous(memory_format=layout)


@pytest.mark.usefixtures("small_chunks")
def test_threads_change_no_bit():
    example, before = batch(dtype=torch.float32), torch.get_num_threads()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(value_and_gradient("fused", *example))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


@pytest.mark.usefixtures("small_chunks")
def test_threads_are_given_back_after_a_failure():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    logits, target, merged = batch()
    with pytest.raises(RuntimeError):
        voxel_sums([logits], [target.to("meta")], merged, SumRequest())
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-2)]
)
def test_low_precision_loses_no_more_than_the_rounding_of_the_gradient(dtype, tolerance):
    logits, target, merged = batch(space=(8, 8, 8), dtype=dtype)
    values, gradient = value_and_gradient("fused", logits, target, merged)
    expected, slope = value_and_gradient("eager", logits.double(), target, merged)
    assert values.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-5)
    assert (gradient.double() - slope).abs().max() < tolerance * slope.abs().max()


def test_autocast_changes_nothing():
    example = batch(dtype=torch.float32)
    expected = value_and_gradient("fused", *example)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = value_and_gradient("fused", *example)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [80.0, 87.5, 100.0, 730.0, 1e4])
def test_where_probability_underflows_the_gradient_is_still_eq_8(dtype, gap):
    # liver is labelled and has no probability to speak of; spleen or pancreas have it all
    logits = torch.tensor([[[0.0, 1.0], [-gap, 0.5], [1.0, 0.0], [0.5, 1.0]]], dtype=dtype)
    target, merged = torch.tensor([[1, 1]]), torch.tensor([LIVER_ONLY])
    leaf = logits.clone().requires_grad_()
    loss = marginal_cross_entropy(leaf, target, merged)
    total = logits.double().logsumexp(1)
    assert loss.item() == pytest.approx((total - logits.double()[:, 1]).mean().item(), rel=1e-6)
    gradient = torch.autograd.grad(loss, leaf)[0]
    expected = (logits.double().softmax(1) - torch.tensor([0, 1, 0, 0])[None, :, None]) / 2
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-7)


def test_a_huge_gap_within_a_group_that_has_no_probability():
    logits = torch.tensor([[[0.0], [0.0], [-200.0], [-202.0]]])
    leaf = logits.requires_grad_()
    loss = marginal_cross_entropy(leaf, torch.tensor([[2]]), torch.tensor([KIDNEYS_AS_ONE]))
    gradient = torch.autograd.grad(loss, leaf)[0].flatten()
    left = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(gradient, torch.tensor([0.5, 0.5, -left, left - 1]))


def test_backward_twice_gives_the_same():
    logits, target, merged = batch()
    leaf = logits.requires_grad_()
    loss = MarginalExclusionLoss()(leaf, target, merged)
    first = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, leaf)[0])


def test_a_second_derivative_is_refused_not_wrong():
    logits, target, merged = batch()
    leaf = logits.requires_grad_()
    loss = MarginalExclusionLoss()(leaf, target, merged)
    slope = torch.autograd.grad(loss, leaf, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_nothing_large_is_kept_for_the_backward_pass():
    logits, target, merged = batch()
    leaf, saved = logits.requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
    ):
        MarginalExclusionLoss()(leaf, target, merged)
    own = {leaf.untyped_storage().data_ptr(), target.untyped_storage().data_ptr()}
    others = [t for t in saved if t.untyped_storage().data_ptr() not in own]
    assert len(others) < len(saved)
    assert max(tensor.numel() for tensor in others) <= merged.numel() * merged.shape[1]


def test_no_gradient_is_asked_of_logits_that_need_none():
    with torch.inference_mode():
        logits, target, merged = batch()
        assert not exclusion_cross_entropy(logits, target, merged).requires_grad


def test_sums_that_nobody_wants_are_not_worked_out():
    logits, target, merged = batch()
    sums = voxel_sums([logits], [target], merged, SumRequest(p=False, log_excluded=False))
    assert (sums.p == 0).all()
    assert (sums.log_excluded == 0).all()
    assert (sums.log_q < 0).any()


@pytest.mark.parametrize("scale", [3.0, 3000.0])
def test_values_need_not_be_looked_at(monkeypatch, scale):
    # as on a GPU, where looking at them would make the host wait
    monkeypatch.setattr("train.losses.sample_voxels.would_sync", lambda _: True)
    assert_same(*batch(scale=scale))
    assert_same(*batch(scale=scale, dtype=torch.float32), tolerance=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("scale", [3.0, 300.0])
def test_a_gpu_gives_what_the_cpu_gives(layout, scale):
    logits, target, merged = batch(space=(16, 16, 16), scale=scale, dtype=torch.float32)
    on_gpu = [t.cuda() for t in (logits.contiguous(memory_format=layout), target, merged)]
    actual = value_and_gradient("fused", *on_gpu)
    expected = value_and_gradient("eager", logits.double(), target, merged)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.cpu().double(), other, rtol=1e-4, atol=1e-6)
