"""The losses against the equations written out voxel by voxel, peers, and the extremes."""

import inspect
import math
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceLoss
from torch.nn import functional

from manifests.ground.errors import TrainingError
from train.losses import (
    MarginalExclusionLoss,
    exclusion_cross_entropy,
    exclusion_dice,
    marginal_cross_entropy,
    marginal_dice,
)
from train.losses.options import LossOptions
from train.shapes import check_fit

TERMS = {
    "marginal_cross_entropy": marginal_cross_entropy,
    "marginal_dice": marginal_dice,
    "exclusion_cross_entropy": exclusion_cross_entropy,
    "exclusion_dice": exclusion_dice,
}
each_term = pytest.mark.parametrize("name", TERMS)
each_implementation = pytest.mark.parametrize("implementation", ["fused", "eager"])

LIVER_ONLY = [0, 1, 0, 0]
KIDNEYS_AS_ONE = [0, 1, 2, 2]
ALL_LABELLED = [0, 1, 2, 3]
NOTHING_LABELLED = [0, 0, 0, 0]


# --- the equations, voxel by voxel, in Python's floats ---------------------------------------


def reference(logits, target, merged, *, class_reduction="sum", smooth=1e-5, epsilon=1.0):
    """The four terms by name, from Eqs. 1, 4-6 and 9-11."""
    samples = [
        reference_sample(a, t, m, class_reduction, smooth, epsilon)
        for a, t, m in zip(
            logits.double().flatten(2).transpose(1, 2).tolist(),
            target.flatten(1).tolist(),
            merged.tolist(),
            strict=True,
        )
    ]
    return {name: math.fsum(s[name] for s in samples) / len(samples) for name in TERMS}


def reference_sample(logits, target, merged, class_reduction, smooth, epsilon):
    classes, voxels = range(len(merged)), range(len(target))
    p = [reference_softmax(a) for a in logits]  # Eq. 1
    groups = {m: [n for n in classes if merged[n] == m] for m in merged}
    q = [{m: math.fsum(p[v][n] for n in groups[m]) for m in groups} for v in voxels]  # Eq. 4
    mce = [-math.log(q[v][target[v]]) for v in voxels]  # Eq. 5
    mdice = []
    for m in groups:  # Eq. 6
        z = [float(target[v] == m) for v in voxels]
        both = math.fsum(z[v] * q[v][m] for v in voxels)
        size = math.fsum(z) + math.fsum(q[v][m] for v in voxels)
        mdice.append(1 - (2 * both + smooth) / (size + smooth))
    ece, edice = [], []
    for n in classes[1:]:
        e = [float(t != 0 and n not in groups[t]) for t in target]  # Eq. 9
        ece += [e[v] * math.log(p[v][n] + epsilon) for v in voxels]  # Eq. 11
        if any(e):  # Eq. 10
            size = math.fsum(e) + math.fsum(p[v][n] for v in voxels)
            edice.append(2 * math.fsum(e[v] * p[v][n] for v in voxels) / size)
    terms_of_classes = {"marginal_dice": mdice, "exclusion_dice": edice}
    share = {
        k: len(v) if class_reduction == "mean" and v else 1 for k, v in terms_of_classes.items()
    }
    return {
        "marginal_cross_entropy": math.fsum(mce) / len(target),
        "exclusion_cross_entropy": math.fsum(ece) / len(target),
        **{k: math.fsum(v) / share[k] for k, v in terms_of_classes.items()},
    }


def reference_softmax(logits):
    exps = [math.exp(a - max(logits)) for a in logits]
    return [e / math.fsum(exps) for e in exps]


# --- batches ----------------------------------------------------------------------------------


@st.composite
def batches(draw):
    """Logits, target and merged of a mixture of partitions, in one to three dimensions."""
    size, classes = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    space = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    rows = []
    for _ in range(size):
        row = [0]
        for n in range(1, classes):
            row.append(draw(st.sampled_from(sorted({*row, n}))))
        rows.append(row)
    return batch(rows, space, seed=draw(st.integers(0, 999)), scale=draw(st.sampled_from([1, 9])))


def batch(rows, space=(3, 2), *, seed=0, scale=2.0, dtype=torch.float64):
    """Random logits and labels, for these rows of merged."""
    generator = torch.Generator().manual_seed(seed)
    merged = torch.tensor(rows)
    logits = scale * torch.randn(*merged.shape, *space, generator=generator, dtype=torch.float64)
    labels = torch.randint(merged.shape[1], (len(rows), *space), generator=generator)
    target = merged.gather(1, labels.flatten(1)).view_as(labels)
    return logits.to(dtype), target, merged


def mixture(**kwargs):
    return batch([LIVER_ONLY, KIDNEYS_AS_ONE, ALL_LABELLED, NOTHING_LABELLED], **kwargs)


def certain_logits(target, classes, size=50.0):
    """Logits that give each voxel's label all the probability."""
    return size * functional.one_hot(target, classes).movedim(-1, 1).double()


def gradient(loss, logits, *args):
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, *args), leaf)[0]


# --- values -----------------------------------------------------------------------------------


@each_implementation
@given(
    example=batches(),
    class_reduction=st.sampled_from(["sum", "mean"]),
    smooth=st.sampled_from([1e-5, 1.0]),
    epsilon=st.sampled_from([1e-3, 1.0, 2.0]),
)
@settings(max_examples=40, deadline=None)
def test_terms_are_the_equations(implementation, example, class_reduction, smooth, epsilon):
    options = {"class_reduction": class_reduction, "smooth": smooth, "epsilon": epsilon}
    terms = MarginalExclusionLoss(**options, implementation=implementation).terms(*example)
    expected = reference(*example, **options)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(batches())
@settings(max_examples=15, deadline=None)
def test_functions_are_the_terms_of_the_module(example):
    terms = MarginalExclusionLoss().terms(*example)
    assert {name: f(*example).item() for name, f in TERMS.items()} == pytest.approx(
        {name: value.item() for name, value in terms.items()}, rel=1e-12, abs=1e-15
    )


def test_functions_pass_their_options_on():
    example, options = mixture(), {"class_reduction": "mean", "smooth": 0.5, "epsilon": 0.1}
    expected = reference(*example, **options)
    actual = {
        "marginal_cross_entropy": marginal_cross_entropy(*example),
        "marginal_dice": marginal_dice(*example, class_reduction="mean", smooth=0.5),
        "exclusion_cross_entropy": exclusion_cross_entropy(*example, epsilon=0.1),
        "exclusion_dice": exclusion_dice(*example, class_reduction="mean"),
    }
    assert {k: v.item() for k, v in actual.items()} == pytest.approx(expected, rel=1e-9)


def test_known_values_of_one_voxel():
    # p = 1/4 each; liver is labelled, spleen and pancreas were not told from background
    example = torch.zeros(1, 4, 1), torch.tensor([[1]]), torch.tensor([LIVER_ONLY])
    terms = MarginalExclusionLoss(smooth=1e-12).terms(*example)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {
            "marginal_cross_entropy": math.log(4),
            "marginal_dice": (1 - 2 * 0.25 / 1.25) + 1,  # liver, then background's group
            "exclusion_cross_entropy": 2 * math.log(1.25),  # spleen and pancreas
            "exclusion_dice": 2 * (2 * 0.25 / 1.25),
        }
    )


def test_defaults_are_the_papers():
    terms = MarginalExclusionLoss().terms(*mixture())
    marginal = terms["marginal_cross_entropy"] + terms["marginal_dice"]
    exclusion = terms["exclusion_cross_entropy"] + terms["exclusion_dice"]
    total = MarginalExclusionLoss()(*mixture())
    assert total.item() == pytest.approx((marginal + 2 * exclusion).item(), rel=1e-12)


# --- peers ------------------------------------------------------------------------------------


def test_cross_entropy_of_a_full_label_is_torchs():
    logits, target, merged = batch([ALL_LABELLED] * 3, (2, 3, 4))
    torch.testing.assert_close(
        marginal_cross_entropy(logits, target, merged), functional.cross_entropy(logits, target)
    )


@pytest.mark.parametrize("class_reduction", ["sum", "mean"])
def test_dice_of_a_full_label_is_monais(class_reduction):
    logits, target, merged = batch([ALL_LABELLED] * 3, (2, 3, 4))
    peer = DiceLoss(
        softmax=True, to_onehot_y=True, smooth_nr=1e-5, smooth_dr=1e-5, reduction="none"
    )
    per_class = peer(logits, target[:, None]).flatten(1)
    expected = getattr(per_class, class_reduction)(1).mean()
    actual = marginal_dice(logits, target, merged, class_reduction=class_reduction)
    torch.testing.assert_close(actual, expected)


# --- gradients --------------------------------------------------------------------------------


@given(batches(), st.sampled_from(["sum", "mean"]), st.sampled_from([1e-3, 1.0]))
@settings(max_examples=15, deadline=None)
def test_gradients_are_the_finite_differences(example, class_reduction, epsilon):
    logits, target, merged = example
    loss = MarginalExclusionLoss(class_reduction=class_reduction, epsilon=epsilon)

    def terms(leaf):
        return tuple(loss.terms(leaf, target, merged).values())

    assert torch.autograd.gradcheck(terms, logits.requires_grad_(), fast_mode=True)


@each_term
def test_every_derivative_of_a_term_is_the_finite_difference(name):
    logits, target, merged = mixture(space=(2,))
    loss = MarginalExclusionLoss()
    assert torch.autograd.gradcheck(
        lambda leaf: loss.terms(leaf, target, merged)[name], logits.requires_grad_()
    )


def test_gradient_of_marginal_cross_entropy_is_eq_8():
    logits, target, merged = mixture()
    p = logits.softmax(1)
    inside = merged[:, :, None, None] == target[:, None]
    q = (p * inside).sum(1, keepdim=True)
    expected = (p - p * inside / q) / target.numel()
    torch.testing.assert_close(gradient(marginal_cross_entropy, logits, target, merged), expected)


# --- extremes ---------------------------------------------------------------------------------


@each_term
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits_give_finite_values_and_gradients(name, dtype):
    signs, target, merged = mixture(space=(4, 4, 4))
    logits = (1e4 * signs.sign()).to(dtype)
    logits[:, :, 0] = -1e4  # all classes alike
    assert TERMS[name](logits, target, merged).isfinite()
    assert gradient(TERMS[name], logits, target, merged).isfinite().all()


def test_cross_entropy_of_huge_logits_is_exact():
    logits = torch.tensor([[[1e4], [-1e4], [-1e4], [-1e4]]])
    target = torch.tensor([[1]])
    assert marginal_cross_entropy(logits, target, torch.tensor([LIVER_ONLY])).item() == 2e4
    assert marginal_cross_entropy(1e26 * logits, target, torch.tensor([LIVER_ONLY])).isfinite()
    two = marginal_cross_entropy(-logits, target - 1, torch.tensor([KIDNEYS_AS_ONE])).item()
    assert two == pytest.approx(2e4 + math.log(3))


@each_term
def test_autocast_works_in_float32(name):
    logits, target, merged = mixture(space=(16, 16))
    rounded = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = TERMS[name](rounded, target, merged)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(TERMS[name](rounded.double(), target, merged).item(), 1e-5)


@each_term
def test_many_voxels_are_summed_in_full(name):
    # in bfloat16 or float16 a sum of a million halves stands still
    row = torch.tensor([ALL_LABELLED])
    small = torch.tensor([[[0, 1, 2, 3]]]).flatten(1)
    large = small.repeat(1, 1 << 18)
    value = TERMS[name](torch.zeros(1, 4, 1 << 20).bfloat16(), large, row)
    expected = TERMS[name](torch.zeros(1, 4, 4).double(), small, row)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


@each_term
def test_double_stays_double(name):
    assert TERMS[name](*mixture(dtype=torch.float64)).dtype == torch.float64


def test_stored_labels_of_one_byte_will_do():
    logits, target, merged = mixture()
    expected = MarginalExclusionLoss()(logits, target, merged)
    assert MarginalExclusionLoss()(logits, target.byte(), merged.int()) == expected


def test_tensors_of_monais_own_kind_will_do():
    logits, target, merged = mixture()
    logits.requires_grad_()
    loss = MarginalExclusionLoss(label_smoothing=0.1)
    expected = torch.autograd.grad(loss(logits, target, merged), logits)
    of_monai = [MetaTensor(tensor) for tensor in (logits, target, merged)]
    got = torch.autograd.grad(loss(*of_monai), logits)
    torch.testing.assert_close(got[0].as_subclass(torch.Tensor), expected[0], rtol=0, atol=0)


# --- meaning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [LIVER_ONLY, KIDNEYS_AS_ONE, ALL_LABELLED])
@pytest.mark.parametrize("size", [1.0, 1e4])  # at 1e4 no class but background has any probability
def test_background_excludes_nothing(row, size):
    target, merged = torch.zeros(1, 5, dtype=torch.long), torch.tensor([row])
    logits = certain_logits(target, 4, size)
    for name in ("exclusion_cross_entropy", "exclusion_dice"):
        assert TERMS[name](logits, target, merged) == 0
        assert (gradient(TERMS[name], logits, target, merged) == 0).all()


def test_nothing_is_excluded_by_a_perfect_prediction():
    target = torch.arange(4).repeat(1, 3)
    logits = certain_logits(target, 4)
    for name, term in TERMS.items():
        value = term(logits, target, torch.tensor([ALL_LABELLED])).item()
        assert value == pytest.approx(0, abs=1e-9), name


@each_term
def test_classes_of_one_group_are_free_to_share_its_region(name):
    # all voxels are labelled with the kidneys' group: left or right makes no difference
    target, merged = torch.full((1, 5), 2), torch.tensor([KIDNEYS_AS_ONE])
    left = certain_logits(target, 4)
    right = certain_logits(target + 1, 4)
    half = torch.maximum(left, right)
    values = [TERMS[name](logits, target, merged).item() for logits in (left, right, half)]
    assert values == pytest.approx([0.0] * 3, abs=1e-9)


def test_unlabelled_classes_are_excluded_from_a_labelled_organ():
    target, merged = torch.full((1, 5), 1), torch.tensor([LIVER_ONLY])
    spleen = certain_logits(target + 1, 4)
    assert exclusion_cross_entropy(spleen, target, merged).item() == pytest.approx(math.log(2))
    assert exclusion_dice(spleen, target, merged).item() == pytest.approx(1)


def test_background_is_excluded_from_nothing():
    target, merged = torch.full((1, 5), 1), torch.tensor([ALL_LABELLED])
    missed = certain_logits(target - 1, 4)
    assert exclusion_cross_entropy(missed, target, merged).item() == pytest.approx(0, abs=1e-12)
    assert exclusion_dice(missed, target, merged).item() == pytest.approx(0, abs=1e-12)


def test_a_case_without_labels_teaches_nothing():
    logits, target, merged = batch([NOTHING_LABELLED])
    assert gradient(MarginalExclusionLoss(), logits, target, merged).abs().max() < 1e-12


def test_an_absent_organ_that_is_not_predicted_costs_nothing():
    target = torch.zeros(1, 9, dtype=torch.long)
    value = marginal_dice(certain_logits(target, 4, 90.0), target, torch.tensor([ALL_LABELLED]))
    assert value.item() == pytest.approx(0, abs=1e-9)


def test_mean_divides_by_the_groups_and_by_the_excluded_classes():
    example = batch([KIDNEYS_AS_ONE])
    target = torch.ones_like(example[1])  # liver everywhere: three groups, two excluded classes
    for term, count in ((marginal_dice, 3), (exclusion_dice, 2)):
        total = term(example[0], target, example[2])
        mean = term(example[0], target, example[2], class_reduction="mean")
        assert total.item() == pytest.approx(count * mean.item())


@each_term
def test_samples_do_not_mix(name):
    logits, target, merged = mixture()
    order = torch.tensor([2, 0, 3, 1])
    alone = [TERMS[name](logits[i, None], target[i, None], merged[i, None]) for i in range(4)]
    together = TERMS[name](logits, target, merged)
    torch.testing.assert_close(together, torch.stack(alone).mean())
    torch.testing.assert_close(together, TERMS[name](logits[order], target[order], merged[order]))


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "left_out"), [("marginal", "exclusion"), ("exclusion", "marginal")]
)
def test_weight_of_zero_leaves_the_terms_out(kept, left_out):
    loss = MarginalExclusionLoss(**{f"{left_out}_weight": 0.0, f"{kept}_weight": 3.0})
    terms = loss.terms(*mixture())
    assert set(terms) == {name for name in TERMS if name.startswith(kept)}
    torch.testing.assert_close(loss(*mixture()), 3 * torch.stack(list(terms.values())).sum())


@each_implementation
def test_exclusion_of_each_sample_is_weighted_by_itself(implementation):
    example, weights = mixture(), torch.tensor([0.0, 1.0, 0.5, 2.0])
    loss = MarginalExclusionLoss(implementation=implementation)
    weighted = loss.terms(*example, exclusion_of_sample=weights)
    alone = [loss.terms(*(part[i, None] for part in example)) for i in range(4)]
    for name, value in weighted.items():
        factors = weights if name.startswith("exclusion") else torch.ones(4)
        expected = torch.stack(
            [factor * terms[name] for factor, terms in zip(factors, alone, strict=True)]
        )
        torch.testing.assert_close(value, expected.mean())


@pytest.mark.parametrize(
    "options",
    [
        {"marginal_weight": -1.0},
        {"marginal_weight": 0.0, "exclusion_weight": 0.0},
        {"exclusion_weight": math.nan},
        {"smooth": 0.0},
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(TrainingError, match=next(iter(options)).split("_")[0]):
        MarginalExclusionLoss(**options)


def test_unknown_choices_are_refused():
    check = inspect.unwrap(LossOptions.__post_init__)
    options = vars(LossOptions())
    with pytest.raises(TrainingError, match="class_reduction must be 'sum' or 'mean', got 'max'"):
        check(SimpleNamespace(**options | {"class_reduction": "max"}))
    with pytest.raises(TrainingError, match="implementation must be 'fused' or 'eager'"):
        check(SimpleNamespace(**options | {"implementation": "fast"}))


@each_term
def test_functions_refuse_options_of_other_terms(name):
    other = "smooth" if name != "marginal_dice" else "epsilon"
    with pytest.raises(TypeError, match=f"{name} has no option {other}"):
        TERMS[name](*mixture(), **{other: 1.0})


def test_functions_refuse_options_out_of_range():
    with pytest.raises(TrainingError, match="epsilon"):
        exclusion_cross_entropy(*mixture(), epsilon=0.0)
    with pytest.raises(TrainingError, match="smooth"):
        marginal_dice(*mixture(), smooth=0.0)


# --- misuse -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, t, m: (a, t, m[:, :3]), r"merged .*expected integers \(4, 4\).*got .*\(4, 3\)"),
        (lambda a, t, m: (a, t, m[:1]), r"merged .*got .*\(1, 4\)"),
        (lambda a, t, m: (a, t[:, :1], m), r"target .*expected integers \(4, 3, 2\)"),
        (lambda a, t, m: (a, t[:, None], m), r"target .*got .*\(4, 1, 3, 2\)"),
        (lambda a, t, m: (a, t.float(), m), r"target .*float32"),
        (lambda a, t, m: (a, t > 0, m), r"target .*bool"),
        (lambda a, t, m: (a.long(), t, m), "floating logits"),
        (lambda a, t, m: (a[..., 0, 0], t, m), "floating logits"),
        (lambda a, t, m: (a[:0], t[:0], m[:0]), "not empty"),
        (lambda a, t, m: (a, t.to("meta"), m), "target .*on meta"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change, message):
    with pytest.raises(TrainingError, match=message):
        check_fit(*change(*mixture()))


@each_term
def test_every_term_checks_the_fit(name):
    logits, target, merged = mixture()
    with pytest.raises(TrainingError, match="merged does not fit"):
        inspect.unwrap(TERMS[name])(logits, target, merged[:1])


def test_shapes_are_checked_at_run_time_here():
    logits, target, merged = mixture()
    with pytest.raises(jaxtyping.TypeCheckError):
        marginal_dice(logits, target, merged[:1])


def test_a_label_that_is_no_representative_shows_as_infinity():
    logits, target, merged = batch([LIVER_ONLY])
    assert marginal_cross_entropy(logits, torch.full_like(target, 2), merged) == math.inf
