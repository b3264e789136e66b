"""Objective: which losses a batch is judged by."""

import torch
from torch import Tensor

from train.losses import MarginalExclusionLoss
from train.sampler import Batch
from train.settings import TrainSettings


def batch_loss(logits: Tensor, batch: Batch, settings: TrainSettings) -> Tensor:
    """The regular losses on fully labelled patches, marginal and exclusion losses on the others.

    Every one of the losses is a mean over patches, so that a batch of both kinds is their mean
    weighted by how many there are of each.

    Source: section 4.4.
    """
    classes = torch.arange(batch.merged.shape[1])
    full = (batch.merged == classes).all(1)
    total = logits.new_zeros((), dtype=torch.float32)
    for chosen, exclusion_weight in ((full, 0.0), (~full, settings.exclusion_weight)):
        rows = chosen.nonzero().flatten()
        if rows.numel():
            loss = MarginalExclusionLoss(
                marginal_weight=settings.marginal_weight,
                exclusion_weight=exclusion_weight,
                class_reduction=settings.class_reduction,
                smooth=settings.smooth,
                epsilon=settings.epsilon,
            )
            target, merged = (t[rows].to(logits.device) for t in (batch.target, batch.merged))
            share = rows.numel() / len(full)
            total = total + share * loss(logits[rows.to(logits.device)], target, merged)
    return total
