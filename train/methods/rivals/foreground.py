"""Foreground: what methods share that answer for each class alone, whether it is there or not."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from manifests.classes.merged import annotated_classes
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from train.losses.class_reduction import ClassReduction
from train.losses.label_set import singleton_classes
from train.methods.method import Network, Objective
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import (
    ForegroundLogits,
    ForegroundMask,
    Images,
    Logits,
    Merged,
    Scalar,
    Target,
)

TERMS = ("binary_cross_entropy", "binary_dice")


def with_background(foreground: ForegroundLogits) -> Logits:
    """Put a background before logits of N - 1 classes of which each was learnt alone.

    The background's logit is 0: it wins where each class is less likely there than not. With one
    class, its probability is that of the sigmoid.
    """
    return torch.cat([torch.zeros_like(foreground[:, :1]), foreground], 1)


@final
class ForegroundNetwork(nn.Module):
    """A network of N - 1 classes, which in evaluation mode has a background, too."""

    def __init__(self, network: nn.Module) -> None:
        """Keep a network from images to logits [B, N - 1, *space]."""
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> Logits:
        """Logits of the foreground classes in training mode, else of all classes."""
        foreground = self.network(images)
        return foreground if self.training else with_background(foreground)


def binary_terms(
    logits: ForegroundLogits, here: Tensor, known: ForegroundMask, settings: TrainSettings
) -> dict[str, Scalar]:
    """Binary cross-entropy and Dice of the classes that a sample knows, averaged over samples.

    What a sample does not know gets no gradient from it.

    Args:
        logits: [B, K, *space] of K classes.
        here: Whether a voxel is of a class, [B, K, *space].
        known: Whether a sample says so, [B, K].
        settings: How Dice is smoothed, and how the known classes are reduced.
    """
    logits = logits.float().flatten(2)
    label = here.flatten(2).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(2)
    p = logits.sigmoid()
    overlap = 2 * (p * label).sum(2) + settings.smooth
    dice = 1 - overlap / (p.sum(2) + label.sum(2) + settings.smooth)
    values = zip(TERMS, (entropy, dice), strict=True)
    return {name: _reduced(value, known, settings.class_reduction) for name, value in values}


def foreground_labels(target: Target, num_classes: int) -> Tensor:
    """Whether a voxel is of each foreground class, [B, N - 1, *space]."""
    classes = torch.arange(1, num_classes, device=target.device)
    return target[:, None] == classes.view(-1, *[1] * (target.ndim - 1))


def known_foreground(merged: Merged) -> ForegroundMask:
    """Which foreground classes a sample tells apart from all else, [B, N - 1]."""
    return singleton_classes(merged)[:, 1:]


@final
class ForegroundObjective(Objective):
    """Binary losses of every class that a patch's case annotates."""

    terms = TERMS

    def __init__(
        self, settings: TrainSettings, _cases: Sequence[Case], _network: nn.Module
    ) -> None:
        """Keep the settings."""
        super().__init__()
        self.settings = settings

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, dict[str, Scalar]]:
        """The sum of both terms."""
        logits = network(batch.images)
        here = foreground_labels(batch.target, batch.merged.shape[1])
        known = known_foreground(batch.merged).to(logits.device)
        terms = binary_terms(logits, here, known, self.settings)
        return torch.stack(list(terms.values())).sum(), terms


def check_classes(settings: TrainSettings, cases: Sequence[Case]) -> None:
    """Refuse cases that tell no class apart, and classes that no case tells apart.

    Raises:
        TrainingError: There are some: kidneys that were not split, for one.
    """
    blank = [c.case_id for c in cases if not annotated_classes(c.merged)]
    if blank:
        msg = (
            f"method {settings.method} learns each class alone, and {len(blank)} training cases "
            f"tell no class apart from all others, such as {blank[0]} (kidneys without sides are "
            f"one such label); split what is merged, leave their datasets out with the setting "
            f"datasets, or choose a method that knows merged classes, such as marginal"
        )
        raise TrainingError(msg)
    known = {n for c in cases for n in annotated_classes(c.merged)}
    never = sorted({n for c in cases for n in range(1, len(c.merged))} - known)
    if never:
        msg = (
            f"method {settings.method} learns each class alone, and no training case tells the "
            f"classes {never} apart from all others: what the network says of them would be "
            f"noise, and would win over the background; add a dataset that annotates them, or "
            f"prepare with a label space without them"
        )
        raise TrainingError(msg)


def _reduced(values: Tensor, known: ForegroundMask, reduction: ClassReduction) -> Scalar:
    """Sum or mean over known classes, then the mean over samples; 0 where none is known."""
    sums = torch.where(known, values, 0.0).sum(1)
    if reduction == "mean":
        sums = sums / known.sum(1).clamp(min=1)
    return sums.mean()
