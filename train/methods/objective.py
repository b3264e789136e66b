"""Objective of the methods `marginal` and `regular`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from train.device import on_device
from train.losses import MarginalExclusionLoss
from train.losses.deep_supervision import mean_over_levels
from train.losses.options import TERMS, Term
from train.methods.method import Network, SettingsObjective
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import Scalar

REGULAR_WEIGHT = 1.0  # of a fully labelled patch where the marginal losses have none


def batch_loss(
    logits: Tensor | Sequence[Tensor],
    batch: Batch,
    settings: TrainSettings,
    *,
    exclusion_share: float = 1.0,
) -> tuple[Tensor, dict[Term, Tensor]]:
    """Return the loss of a batch, and by name the terms that it is the weighted sum of.

    For logits of several levels, the finest first, the loss is the weighted mean over the levels,
    and the terms are those of the finest.

    Fully labelled patches have the regular losses, the others marginal and exclusion losses. With
    nothing merged, the marginal losses are the regular ones; so a fully labelled patch only needs
    a weight of 0 for its exclusion losses. Every loss is a mean over patches. If the marginal
    weight is 0, only fully labelled patches have regular losses. `exclusion_share` is a factor of
    the exclusion weight.

    Source: section 4.4.
    """
    unmerged = torch.arange(batch.merged.shape[1])
    merged = unmerged.expand_as(batch.merged) if settings.method == "regular" else batch.merged
    partial = (merged != unmerged).any(1)
    loss = MarginalExclusionLoss(
        marginal_weight=settings.marginal_weight or REGULAR_WEIGHT,
        exclusion_weight=settings.exclusion_weight * exclusion_share if partial.any() else 0.0,
        terms=settings.terms,
        class_reduction=settings.class_reduction,
        smooth=settings.smooth,
        epsilon=settings.epsilon,
        label_smoothing=settings.label_smoothing,
        dice_groups=settings.dice_groups,
        batch_dice=settings.batch_dice,
    )
    levels = [logits] if isinstance(logits, Tensor) else logits
    device = levels[0].device
    target, merged = (on_device(t, device) for t in (batch.target, merged))
    exclusion = on_device(partial.float(), device)
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
class MarginalObjective(SettingsObjective):
    """The marginal and exclusion losses; the method `regular` takes all labels for full ones.

    Patches with a completed label have the same losses on it once more, with a weight; of a patch
    without one, all is ignored there, so that it adds nothing. The terms are the annotator's.
    """

    terms = TERMS

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """Return the loss of the network's logits."""
        logits, share = network(batch.images), self.exclusion_share
        loss, terms = batch_loss(logits, batch, self.settings, exclusion_share=share)
        if (more := batch.completed) and (weight := self.settings.completed_weight):
            again = replace(batch, target=more.target, merged=more.merged)
            loss = (
                loss + weight * batch_loss(logits, again, self.settings, exclusion_share=share)[0]
            )
        return loss, {**terms}
