"""Objective: which losses a batch is judged by."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from manifests.table.case import Case
from train.losses import MarginalExclusionLoss
from train.losses.deep_supervision import mean_over_levels
from train.losses.options import TERMS, Term
from train.methods.method import Network, Objective
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import Scalar

REGULAR_WEIGHT = 1.0  # of a fully labelled patch where the marginal losses have none


def batch_loss(
    logits: Tensor | Sequence[Tensor], batch: Batch, settings: TrainSettings
) -> tuple[Tensor, dict[Term, Tensor]]:
    """The loss of a batch, and by name the terms that it is the weighted sum of.

    Of logits of several levels, the finest first, it is the weighted mean over them, and the terms
    are the finest's.

    Fully labelled patches have the regular losses, the others marginal and exclusion losses. With
    nothing merged, the marginal losses are the regular ones; so all that a fully labelled
    patch needs is that its exclusion losses do not count. Every loss is a mean over patches.
    Without a marginal weight, regular losses are left to the fully labelled patches alone.

    Source: section 4.4.
    """
    itself = torch.arange(batch.merged.shape[1])
    told = itself.expand_as(batch.merged) if settings.method == "regular" else batch.merged
    partial = (told != itself).any(1)
    loss = MarginalExclusionLoss(
        marginal_weight=settings.marginal_weight or REGULAR_WEIGHT,
        exclusion_weight=settings.exclusion_weight if partial.any() else 0.0,
        terms=settings.terms,
        class_reduction=settings.class_reduction,
        smooth=settings.smooth,
        epsilon=settings.epsilon,
        label_smoothing=settings.label_smoothing,
    )
    levels = [logits] if isinstance(logits, Tensor) else logits
    device = levels[0].device
    target, merged = (t.to(device) for t in (batch.target, told))
    exclusion = partial.to(device, torch.float32)
    marginal = None if settings.marginal_weight else 1 - exclusion
    of_levels: list[dict[Term, Tensor]] = []

    def loss_of(logits: Tensor, target: Tensor) -> Tensor:
        terms = loss.terms(
            logits, target, merged, marginal_of_sample=marginal, exclusion_of_sample=exclusion
        )
        of_levels.append(terms)
        return loss.total(terms)

    return mean_over_levels(levels, target, loss_of), of_levels[0]


@final
class MarginalObjective(Objective):
    """The marginal and exclusion losses; with the method `regular`, of labels taken for whole."""

    terms = TERMS

    def __init__(
        self, settings: TrainSettings, _cases: Sequence[Case], _network: nn.Module
    ) -> None:
        """Keep the settings."""
        super().__init__()
        self.settings = settings

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """The loss of the network's logits."""
        loss, terms = batch_loss(network(batch.images), batch, self.settings)
        return loss, {**terms}
