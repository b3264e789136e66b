"""A training step on a GPU makes the host wait once, for the losses; shown on the meta device."""

from contextlib import suppress

import pytest
import torch

from tests.gpu.stand_in import OPTIONS, VARIANTS, HostWaits, StandIn
from train.nnunet.loss import PartialLabelLoss
from train.settings import resolve

META = torch.device("meta")


@pytest.fixture(autouse=True)
def _autocast_on_meta(monkeypatch):
    """PyTorch 2.13 knows no autocast on meta, not even to leave it off."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda d, *a, **o: autocast("cpu", enabled=False) if d == "meta" else autocast(d, *a, **o),
    )


@pytest.mark.parametrize("words", VARIANTS, ids=" ".join)
def test_the_host_waits_only_for_the_losses(manifest, words):
    stand_in = StandIn(manifest, resolve("tiny", [*OPTIONS, *words]), META)
    with HostWaits(META) as waits:
        for batch in stand_in.batches():
            assert (batch.images.device, batch.target.device) == (META, META)
            assert batch.merged.device.type == "cpu"
            assert stand_in.step(batch) == 1
    assert waits.found == []


@pytest.mark.parametrize("batch_dice", [False, True])
def test_the_host_waits_for_nothing_in_the_loss_of_nnunets_outputs(batch_dice):
    loss = PartialLabelLoss(3, exclusion=True, batch_dice=batch_dice, level_weights=(0.6, 0.4, 0.0))
    loss.merged = (0, 1, 2), (0, 1, 0)
    outputs = [torch.empty(2, 3, n, n, n, device=META).half().requires_grad_() for n in (8, 4, 2)]
    targets = [torch.empty(2, 1, n, n, n, device=META, dtype=torch.int16) for n in (8, 4, 2)]
    with HostWaits(META) as waits:
        loss(outputs, targets).backward()
    assert waits.found == []
    assert [output.grad is None for output in outputs] == [False, False, True]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda t: t.sum().item(), "reads meta"),
        (lambda t: t[t > 0], "reads meta"),
        (lambda t: t.nonzero(), "reads meta"),
        (lambda t: t.unique(), "reads meta"),
        (lambda t: t.cpu(), "meta to cpu, and waits"),
        (lambda t: torch.zeros(3).to(t.device), "cpu to meta, and waits"),
        (lambda t: t.copy_(torch.zeros(3)), "cpu to meta, and waits"),
        (lambda t: torch.zeros(3, 3) @ t, "mixes cpu and meta"),
        (lambda t: t[torch.zeros(3).long()], "mixes cpu and meta"),
    ],
)
def test_what_makes_the_host_wait_is_noted(ask, told):
    values = torch.zeros(3, device=META)
    # there are no numbers to answer with
    with HostWaits(META) as waits, suppress(RuntimeError, NotImplementedError):
        ask(values)
    assert any(told in found for found in waits.found), waits.found


def test_what_a_gpu_does_without_the_host_is_not_noted():
    values = torch.zeros(3, device=META)
    with HostWaits(META) as waits:
        torch.where(values > 0, values, 0.0).sum()
        torch.zeros(3).to(META, non_blocking=True).add_(values).mul_(torch.tensor(2.0))
        values[torch.zeros(3, device=META).long()] = 1.0
    assert waits.found == []
