"""Masked sigmoid: no gradient for what a case does not annotate, and a background at the end."""

import pytest
import torch

from train.methods.rivals.foreground import binary_terms, with_background
from train.patches.sampler import Batch

FULL, LIVER_ONLY = [0, 1, 2], [0, 1, 0]


def leaf_of(*shape):
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return logits.requires_grad_()


def test_classes_that_a_case_lacks_get_no_gradient(lesson):
    one = lesson("masked_sigmoid")
    logits = leaf_of(2, 2, *one.batch.target.shape[1:])
    one.objective.loss(lambda _: logits, one.batch)[0].backward()
    assert logits.grad is not None
    assert (logits.grad[1, 1] == 0).all()  # the spleen of the case without
    for sample, organ in ((0, 0), (0, 1), (1, 0)):
        assert (logits.grad[sample, organ] != 0).all()


def test_nor_do_classes_that_are_merged_with_each_other(lesson):
    one = lesson("masked_sigmoid")
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    target[:, :2] = 2
    batch = Batch(("kidneys",), torch.zeros(1, 1, 4, 4, 4), target, torch.tensor([[0, 1, 2, 2]]))
    logits = leaf_of(1, 3, 4, 4, 4)
    one.objective.loss(lambda _: logits, batch)[0].backward()
    assert logits.grad is not None
    assert (logits.grad[:, 1:] == 0).all()
    assert (logits.grad[:, 0] != 0).all()


def test_the_weights_of_a_lacking_class_do_not_move(lesson):
    one = lesson("masked_sigmoid")
    one.objective.loss(one.network, one.batch.part(1, 2))[0].backward()
    out = dict(one.network.named_parameters())["network.unet.output_block.conv.conv.weight"]
    assert out.grad is not None
    liver, spleen = out.grad
    assert (spleen == 0).all()
    assert (liver != 0).any()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_terms_are_the_equations_over_known_classes(settings, reduction):
    chosen = settings.model_copy(update={"class_reduction": reduction, "smooth": 0.5})
    logits = leaf_of(2, 2, 3, 3, 3).detach()
    here = torch.rand(2, 2, 3, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.6
    known = torch.tensor([[True, True], [True, False]])
    p, y = logits.double().sigmoid(), here.double()
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean((2, 3, 4))
    size = (p.sum((2, 3, 4)) + y.sum((2, 3, 4))) + 0.5
    dice = 1 - (2 * (p * y).sum((2, 3, 4)) + 0.5) / size
    terms = binary_terms(logits, here, known, chosen, looked_at=torch.ones_like(here[:, 0]))
    for got, values in zip(terms.values(), (entropy, dice), strict=True):
        share = 2 if reduction == "mean" else 1
        expected = ((values[0, 0] + values[0, 1]) / share + values[1, 0]) / 2
        assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_ignored_voxels_are_in_no_term(settings):
    generator = torch.Generator().manual_seed(2)
    logits = leaf_of(2, 2, 30).detach()
    here, seen = (torch.rand(2, n, 30, generator=generator) > 0.4 for n in (2, 1))
    here, known = here & seen, torch.ones(2, 2, dtype=torch.bool)
    terms = binary_terms(logits, here, known, settings, looked_at=seen[:, 0])
    parts = []
    for n in range(2):
        left = seen[n, 0]
        crop = logits[n : n + 1, :, left], here[n : n + 1, :, left], known[:1]
        every = torch.ones(1, int(left.sum()), dtype=torch.bool)
        parts.append(binary_terms(*crop, settings, looked_at=every))
    for name, term in terms.items():
        torch.testing.assert_close(term, (parts[0][name] + parts[1][name]) / 2)


def test_the_background_wins_where_no_class_is_likelier_than_not():
    foreground = torch.tensor([[-1.0, -2.0], [0.5, -1.0], [0.5, 2.0]]).T.reshape(1, 2, 3)
    logits = with_background(foreground)
    assert logits.argmax(1).flatten().tolist() == [0, 1, 2]
    alone = with_background(foreground[:, :1]).softmax(1)[:, 1]
    torch.testing.assert_close(alone, foreground[:, 0].sigmoid())
