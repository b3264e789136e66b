"""Two cases like the phantom's, of which one labels both organs and one the liver alone."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.conftest import FULL, LIVER_ONLY, draw_case
from train.methods.method import Objective
from train.methods.table import METHODS, new_network
from train.networks.network import NetworkSettings, for_device
from train.patches.sampler import Batch


@dataclass(frozen=True)
class Lesson:
    """What a method makes of a batch."""

    network: nn.Module
    objective: Objective
    batch: Batch
    organs: torch.Tensor

    def dice(self) -> list[float]:
        """Of both livers, and of the spleen that is labelled."""
        with torch.no_grad():
            found = self.network.eval()(self.batch.images).argmax(1)
        pairs = ((found == 1, self.organs == 1), (found[:1] == 2, self.organs[:1] == 2))
        return [2 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs]

    def learn(self, steps: int, batch: Batch | None = None) -> None:
        """Adam on one batch."""
        optimiser = torch.optim.Adam(self.network.parameters(), 1e-2)
        self.network.train()
        batch = batch or self.batch
        for step in range(steps):
            now = replace(batch, seeds=tuple(s + step for s in batch.seeds))
            optimiser.zero_grad()
            self.objective.zero_grad()
            self.objective.loss(self.network, now)[0].backward()
            optimiser.step()
            self.objective.step()


@pytest.fixture
def lesson(manifest, settings):
    """Begin a lesson of a method."""

    def begin(method):
        pairs = [draw_case(np.random.default_rng(seed)) for seed in (0, 1)]
        hu, organs = (torch.from_numpy(np.stack(one)) for one in zip(*pairs, strict=True))
        hu, organs = hu[:, ::2, ::2, ::2], organs[:, ::2, ::2, ::2].long()
        merged = torch.tensor([FULL, LIVER_ONLY])
        target = torch.stack([row[o] for row, o in zip(merged, organs, strict=True)])
        batch = Batch(("full", "partial"), hu[:, None].float() / 100, target, merged, (0, 1000))
        form = NetworkSettings((16, 16, 16), (4.0, 4.0, 4.0), (8, 8, 16), method=method)
        network = for_device(new_network(form, 3), torch.device("cpu"))
        chosen = settings.model_copy(update={"method": method})
        objective = METHODS[method].objective(chosen, list(manifest.cases()), network)
        return Lesson(network, objective, batch, organs)

    return begin
