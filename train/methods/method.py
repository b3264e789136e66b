"""Method: a loss and a network to learn from partial labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from manifests.table.case import Case
from train.device import on_device
from train.networks.network import build_network
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import Logits, Merged, Scalar, Target

Network = Callable[..., Tensor]
LabelSetLoss = Callable[[Logits, Target, Merged], Scalar]


class Objective(nn.Module, ABC):
    """The loss of a batch, and its own state: its parameters, which checkpoints keep.

    Attributes:
        terms: Names of the loss's terms, in the order of the log.
        exclusion_share: Share of the exclusion weight in the present epoch.
    """

    terms: tuple[str, ...]
    exclusion_share = 1.0

    @abstractmethod
    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """Return the loss of a batch, a mean over its patches, and its terms by name, not weighted.

        The network is in training mode, on the device of the batch's images and labels.
        """

    def start_epoch(self, network: nn.Module) -> None:
        """Take note of the network that predicts, before an epoch's first batch."""

    def step(self) -> None:
        """Step along the gradients of the objective's own parameters, after the network's step."""


class SettingsObjective(Objective, ABC):
    """An objective that follows from the settings alone."""

    def __init__(
        self, settings: TrainSettings, _cases: Sequence[Case], _network: nn.Module
    ) -> None:
        """Keep the settings."""
        super().__init__()
        self.settings = settings


@final
class LabelSetObjective(Objective):
    """One loss of logits, representatives and merged classes, without state."""

    def __init__(self, term: str, loss: LabelSetLoss) -> None:
        """Keep the loss and the name that the log has for it."""
        super().__init__()
        self.terms = (term,)
        self.of_logits = loss

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """Return the loss of the network's logits."""
        logits = network(batch.images)
        value = self.of_logits(logits, batch.target, on_device(batch.merged, logits.device))
        return value, {self.terms[0]: value}


def accept(_settings: TrainSettings, _cases: Sequence[Case]) -> None:
    """Accept every training."""


@dataclass(frozen=True)
class Method:
    """One way to learn from partial labels.

    Attributes:
        objective: Makes the loss from the settings, the training's cases and the new network.
        network: Makes the network from its settings, the number N of classes and a seed, as
            `build_network` does. In evaluation mode it maps images [B, 1, z, y, x] of any size to
            logits [B, N, z, y, x], whose softmax is averaged over windows; in training mode to what
            the objective expects. It has parameters and no buffers.
        deep_supervision: Whether the objective takes logits of several levels.
        check: Raises a TrainingError where it cannot learn from the cases as the settings ask.
        class_as_number: Whether the network is told a class as its id, so that its weights are
            right for these classes in this order alone.
    """

    objective: Callable[[TrainSettings, Sequence[Case], nn.Module], Objective]
    network: Callable[..., nn.Module] = build_network
    deep_supervision: bool = False
    check: Callable[[TrainSettings, Sequence[Case]], None] = accept
    class_as_number: bool = False
