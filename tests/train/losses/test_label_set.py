"""Losses of other papers: what each paper claims of its own."""

import pytest
import torch
from monai.losses.dice import DiceLoss

from train.losses import marginal_cross_entropy
from train.losses.label_set import leaf_dice

FULL, LIVER_ONLY, KIDNEYS_AS_ONE, NOTHING = [0, 1, 2, 3], [0, 1, 0, 0], [0, 1, 2, 2], [0] * 4
MIXTURE = (FULL, LIVER_ONLY, KIDNEYS_AS_ONE, NOTHING)
LOSSES = (leaf_dice, marginal_cross_entropy)


def batch(rows=MIXTURE, space=(4, 5)):
    generator = torch.Generator().manual_seed(0)
    merged = torch.tensor(rows)
    logits = torch.randn(*merged.shape, *space, generator=generator, dtype=torch.float64)
    labels = torch.randint(merged.shape[1], (len(merged), *space), generator=generator)
    return logits, merged.gather(1, labels.flatten(1)).view_as(labels), merged


def certain(target, classes=4, size=60.0):
    return size * torch.nn.functional.one_hot(target, classes).movedim(-1, 1).double()


@pytest.mark.parametrize("loss", LOSSES)
def test_classes_of_a_label_set_may_share_its_probability_at_will(loss):
    # the axiom of Fidon et al.
    logits, target, merged = batch()
    p = logits.softmax(1)
    inside = merged[:, :, None, None] == target[:, None]
    other = torch.rand_like(p) * inside
    moved = torch.where(
        inside, other / other.sum(1, keepdim=True) * (p * inside).sum(1, keepdim=True), p
    )
    assert (moved - p).abs().max() > 0.1
    assert loss(logits, target, merged).item() == pytest.approx(
        loss(moved.log(), target, merged).item(), rel=1e-9
    )


def test_regular_dice_on_representatives_has_no_such_freedom():
    # or else the test above would hold of anything
    target = torch.zeros(1, 3, dtype=torch.long)
    dice = DiceLoss(softmax=True, to_onehot_y=True)
    background, spleen = certain(target), certain(target + 2)
    assert dice(background, target[:, None]) < dice(spleen, target[:, None])


def test_leaf_dice_of_full_labels_is_mean_dice():
    logits, target, merged = batch([FULL, FULL])
    peer = DiceLoss(
        softmax=True, to_onehot_y=True, squared_pred=True, smooth_nr=0.0, smooth_dr=1e-5
    )
    torch.testing.assert_close(leaf_dice(logits, target, merged), peer(logits, target[:, None]))


@pytest.mark.parametrize(("loss", "expected"), [(leaf_dice, 0.5), (marginal_cross_entropy, 0.0)])
@pytest.mark.parametrize("last", [2, 3])
def test_the_example_of_the_papers_authors(loss, expected, last):
    # three voxels labelled 0, 1, {2, 3}; predicted 0, 1, and either of the two
    target, merged = torch.tensor([[0, 1, 2]]), torch.tensor([KIDNEYS_AS_ONE])
    predicted = torch.tensor([[0, 1, last]])
    assert loss(certain(predicted), target, merged).item() == pytest.approx(expected, abs=1e-4)


def test_leaf_dice_teaches_nothing_about_merged_classes_alone():
    logits, target, merged = batch([NOTHING])
    leaf = logits.requires_grad_()
    gradient = torch.autograd.grad(leaf_dice(leaf, target, merged), leaf)[0]
    assert (gradient == 0).all()


def test_marginal_cross_entropy_counts_what_is_not_annotated_as_background():
    logits, target, merged = batch([LIVER_ONLY])
    p = logits.softmax(1)
    background = p[:, 0] + p[:, 2] + p[:, 3]
    expected = -torch.where(target == 1, p[:, 1], background).log().mean()
    torch.testing.assert_close(marginal_cross_entropy(logits, target, merged), expected)
