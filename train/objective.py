"""Objective: which losses a batch is judged by."""

import torch
from torch import Tensor

from train.loss_options import Term
from train.losses import MarginalExclusionLoss
from train.sampler import Batch
from train.settings import TrainSettings

REGULAR_WEIGHT = 1.0  # of a fully labelled patch where the marginal losses have none


def batch_loss(
    logits: Tensor, batch: Batch, settings: TrainSettings
) -> tuple[Tensor, dict[Term, Tensor]]:
    """The loss of a batch, and by name the terms that it is the weighted sum of.

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
    )
    target, merged = (t.to(logits.device) for t in (batch.target, told))
    exclusion = partial.to(logits.device, torch.float32)
    marginal = None if settings.marginal_weight else 1 - exclusion
    terms = loss.terms(
        logits, target, merged, marginal_of_sample=marginal, exclusion_of_sample=exclusion
    )
    return loss.total(terms), terms
