"""PaNN: the duals ascend to -1 / p-bar, labels stay, the rest is the teacher's, runs go on."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from manifests.ground.errors import TrainingError
from manifests.table.manifest import read_manifest
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.methods.rivals.pann import (
    PRIOR_WEIGHT,
    PannObjective,
    ascend,
    class_frequencies,
    pseudo_labels,
    saddle,
)
from train.patches.sampler import Batch
from train.planning.plan import plan_training
from train.training.events import EpochDone, StepDone
from train.training.loop import train

FULL, LIVER_ONLY = [0, 1, 2], [0, 1, 0]
LIKELY = torch.tensor([0.7, 0.05, 0.25])


@pytest.fixture
def objective(manifest, settings):
    return PannObjective(settings, list(manifest.cases()), Constant())


class Constant(nn.Module):
    """Everywhere the same prediction."""

    def __init__(self, likely=LIKELY):
        super().__init__()
        self.logits = nn.Parameter(likely.log())

    def forward(self, images):
        return self.logits.view(1, 3, 1, 1, 1).expand(len(images), 3, *images.shape[2:])


def batch_of(*rows):
    merged = torch.tensor(rows)
    target = torch.zeros(len(rows), 4, 4, 4, dtype=torch.long)
    target[:, 0] = 1
    return Batch(("a",) * len(rows), torch.zeros(len(rows), 1, 4, 4, 4), target, merged)


def test_the_duals_begin_at_minus_one_over_the_frequencies(objective, manifest):
    voxels = torch.tensor([c.voxels for c in manifest.cases() if c.merged == (0, 1, 2)]).sum(0)
    q = voxels / voxels.sum()
    torch.testing.assert_close(class_frequencies(list(manifest.cases())), q)
    torch.testing.assert_close(objective.duals, torch.stack([-1 / q, -1 / (1 - q)]))


def test_the_duals_ascend_to_minus_one_over_the_mean_prediction(objective):
    network = Constant()
    before = objective.duals.detach().clone()
    for _ in range(100):
        objective.zero_grad()
        objective.loss(network, batch_of(LIVER_ONLY, LIVER_ONLY))[0].backward()
        objective.step()
    expected = torch.stack([-1 / LIKELY, -1 / (1 - LIKELY)])
    assert not torch.allclose(before, expected, rtol=0.1)
    torch.testing.assert_close(objective.duals.detach(), expected, rtol=1e-2, atol=0)


def test_of_means_that_vary_the_dual_finds_the_mean_and_no_mean_of_logarithms():
    generator = torch.Generator().manual_seed(0)
    duals, found = nn.Parameter(torch.tensor([-1000.0])), []
    for step in range(3000):
        mean = torch.rand(1, generator=generator) ** 4  # 1 / 5 on the mean
        duals.grad = None
        saddle(mean, duals).sum().backward()
        ascend(duals, torch.ones(1))
        assert duals.item() < 0
        if step > 500:
            found.append(-1 / duals.item())
    assert sum(found) / len(found) == pytest.approx(0.2, abs=0.02)  # exp(mean log) is 0.018


def test_the_saddle_is_a_bound_that_the_best_dual_attains():
    mean = torch.tensor([0.3])
    best = saddle(mean, -1 / mean)
    torch.testing.assert_close(best, -mean.log())
    for dual in (-0.5, -3.0, -10.0):
        assert saddle(mean, torch.tensor([dual])) < best


def test_at_the_best_duals_the_network_descends_the_prior_itself(objective):
    network = Constant()
    with torch.no_grad():
        objective.duals.copy_(torch.stack([-1 / LIKELY, -1 / (1 - LIKELY)]))
    _, terms = objective.loss(network, batch_of(LIVER_ONLY))
    got = torch.autograd.grad(terms["prior"], network.logits)[0]
    p, q = network.logits.softmax(0), objective.frequencies[0]
    prior = -(q * p.log() + (1 - q) * (1 - p).log()).sum()
    torch.testing.assert_close(terms["prior"], prior)
    torch.testing.assert_close(got, torch.autograd.grad(prior, network.logits)[0])


def test_fully_labelled_patches_have_cross_entropy_alone(objective):
    loss, terms = objective.loss(Constant(), batch_of(FULL))
    expected = -(0.25 * LIKELY[1].log() + 0.75 * LIKELY[0].log())
    torch.testing.assert_close(loss, expected)
    assert terms["prior"] == 0
    before = objective.duals.detach().clone()
    loss.backward()
    objective.step()
    torch.testing.assert_close(objective.duals.detach(), before)


def test_a_mixed_batch_is_the_mean_of_its_patches_for_the_duals_too(objective):
    both = batch_of(FULL, LIVER_ONLY)
    whole = objective.loss(Constant(), both)[0]
    parts = [objective.loss(Constant(), both.part(n, n + 1))[0] for n in (0, 1)]
    torch.testing.assert_close(whole, sum(parts) / 2)
    gradients = [torch.autograd.grad(x, objective.duals)[0] for x in (whole, *parts)]
    torch.testing.assert_close(gradients[0], (gradients[1] + gradients[2]) / 2)


def test_labels_stay_and_the_rest_is_what_the_teacher_finds_likeliest():
    # voxels: labelled liver, then three of background or spleen
    target = torch.tensor([[[[1, 0, 0, 0]]]])
    likely = torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4]])
    logits = likely.log().T.reshape(1, 3, 1, 1, 4)
    found = pseudo_labels(logits, target, torch.tensor([LIVER_ONLY]))
    assert found.flatten().tolist() == [1, 0, 2, 0]
    assert pseudo_labels(logits, target, torch.tensor([FULL])).equal(target)


def test_the_teacher_is_the_network_as_it_was_when_the_epoch_began(objective):
    spleen = Constant(torch.tensor([0.1, 0.1, 0.8]))
    objective.start_epoch(spleen)
    network = Constant()
    before = objective.loss(network, batch_of(LIVER_ONLY))[1]["cross_entropy"]
    torch.testing.assert_close(before, -(0.25 * LIKELY[1].log() + 0.75 * LIKELY[2].log()))
    with torch.no_grad():
        spleen.logits.zero_()  # what it learns later does not matter
    after = objective.loss(network, batch_of(LIVER_ONLY))[1]["cross_entropy"]
    assert torch.equal(before, after)
    objective.start_epoch(network)
    refreshed = objective.loss(network, batch_of(LIVER_ONLY))[1]["cross_entropy"]
    torch.testing.assert_close(refreshed, -(0.25 * LIKELY[1].log() + 0.75 * LIKELY[0].log()))


def test_the_prior_counts_a_tenth(objective):
    loss, terms = objective.loss(Constant(), batch_of(LIVER_ONLY))
    torch.testing.assert_close(loss, terms["cross_entropy"] + PRIOR_WEIGHT * terms["prior"])


@pytest.fixture(scope="module")
def pann(settings):
    return settings.model_copy(update={"method": "pann", "stage_epochs": (1, 2)})


@pytest.fixture(scope="module")
def whole_run(manifest_path, pann, tmp_path_factory):
    run = tmp_path_factory.mktemp("pann") / "run"
    train(read_manifest(manifest_path), run, pann)
    return run


def assert_same(run, other):
    one, two = (load_checkpoint(checkpoint_path(r, "last")) for r in (run, other))
    assert one.header == two.header
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_a_checkpoint_holds_duals_and_teacher_and_the_best_one_neither(whole_run):
    last = load_checkpoint(checkpoint_path(whole_run, "last")).tensors
    assert last["objective/duals"].shape == (2, 3)
    teacher = [n for n in last if n.startswith("objective/teacher.")]
    assert len(teacher) == sum(n.startswith("network/") for n in last)
    best = load_checkpoint(checkpoint_path(whole_run, "best")).tensors
    assert all(n.startswith("network/") or n == "learnt" for n in best)


def test_a_run_stopped_after_an_epoch_goes_on_bit_by_bit(whole_run, manifest, pann, tmp_path):
    def stop(event):
        if isinstance(event, EpochDone) and event.record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, pann, on_event=stop)
    train(manifest, tmp_path, pann)
    assert_same(tmp_path, whole_run)


def test_a_run_saved_within_an_epoch_goes_on_with_the_same_teacher(
    whole_run, manifest, pann, tmp_path
):
    def stop(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == (3, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(manifest, tmp_path, pann, on_event=stop).preempted
    assert not train(manifest, tmp_path, pann).preempted
    assert_same(tmp_path, whole_run)


def test_without_a_first_stage_it_refuses(manifest, pann):
    with pytest.raises(TrainingError, match="method pann needs a first stage"):
        plan_training(manifest, pann.model_copy(update={"stage_epochs": (0, 3)}))


def test_a_class_that_no_full_case_holds_gets_a_dual_that_is_a_number(manifest):
    cases = [replace(c, voxels=(100, 20, 0)) for c in manifest.cases()]
    assert class_frequencies(cases).min() > 0
