"""Binary losses and networks for each foreground class on its own, and the masked sigmoid.

Source: the masked sigmoid is MultiTalent, Ulrich et al., MICCAI 2023.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import annotated_classes
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from train.device import on_device
from train.losses.label_set import singleton_classes
from train.losses.options import reduce_classes
from train.methods.method import Method, Network, SettingsObjective
from train.networks.network import NetworkSettings, build_network
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
    """Return logits of N classes from those of N - 1 foreground classes, each learnt alone.

    The background's logit is 0: it wins where the sigmoid of every class is below one half. With
    one class, the softmax is the sigmoid.
    """
    return torch.cat([torch.zeros_like(foreground[:, :1]), foreground], 1)


@final
class ForegroundNetwork(nn.Module):
    """A network of N - 1 classes, with a background too in evaluation mode."""

    def __init__(self, network: nn.Module) -> None:
        """Keep a network from images to logits [B, N - 1, *space]."""
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> Logits:
        """Return logits of the foreground classes in training mode, else of all classes."""
        foreground = self.network(images)
        return foreground if self.training else with_background(foreground)


def binary_terms(
    logits: ForegroundLogits,
    here: Tensor,
    known: ForegroundMask,
    settings: TrainSettings,
    *,
    looked_at: Tensor,
) -> dict[str, Scalar]:
    """Return binary cross-entropy and Dice of the classes that a sample annotates.

    Both are averaged over samples. Other classes get no gradient from the sample.

    Args:
        logits: [B, K, *space] of K classes.
        here: Whether a voxel is of a class, [B, K, *space].
        known: Whether a sample annotates a class, [B, K].
        settings: `smooth` of Dice, and the `class_reduction` over a sample's classes.
        looked_at: Whether somebody looked at a voxel, [B, *space]; others count nowhere.
    """
    logits = logits.float().flatten(2)
    label, seen = here.flatten(2).float(), looked_at.flatten(1)[:, None]
    each = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    entropy = torch.where(seen, each, 0.0).sum(2) / seen.sum(2).clamp(min=1)
    p = torch.where(seen, logits.sigmoid(), 0.0)
    overlap = 2 * (p * label).sum(2) + settings.smooth
    dice = 1 - overlap / (p.sum(2) + label.sum(2) + settings.smooth)
    return {
        name: reduce_classes(values, known, settings.class_reduction).mean()
        for name, values in zip(TERMS, (entropy, dice), strict=True)
    }


def foreground_labels(target: Target, num_classes: int) -> Tensor:
    """Return whether a voxel is of each foreground class, [B, N - 1, *space]."""
    classes = torch.arange(1, num_classes, device=target.device)
    return target[:, None] == classes.view(-1, *[1] * (target.ndim - 1))


def known_foreground(merged: Merged) -> ForegroundMask:
    """Return which foreground classes a sample annotates on their own, [B, N - 1]."""
    return singleton_classes(merged)[:, 1:]


@final
class ForegroundObjective(SettingsObjective):
    """Binary losses of every class that a patch's case annotates."""

    terms = TERMS

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the sum of both terms."""
        logits = network(batch.images)
        here = foreground_labels(batch.target, batch.merged.shape[1])
        known = on_device(known_foreground(batch.merged), logits.device)
        seen = batch.target != IGNORED
        terms = binary_terms(logits, here, known, self.settings, looked_at=seen)
        return torch.stack(list(terms.values())).sum(), terms


def build(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return our network without the background's output."""
    return ForegroundNetwork(build_network(settings, num_classes - 1, seed=seed))


def check_classes(settings: TrainSettings, cases: Sequence[Case]) -> None:
    """Refuse cases that annotate no class on its own, and classes that no case does.

    Raises:
        TrainingError: There are some, such as kidneys that were not split.
    """
    blank = [c.case_id for c in cases if not annotated_classes(c.merged)]
    if blank:
        msg = (
            f"method {settings.method} learns each class alone, and {len(blank)} training cases "
            f"distinguish no class from all others, such as {blank[0]} (kidneys without sides are "
            f"one such label); split what is merged, leave their datasets out with the setting "
            f"datasets, or choose a method that knows merged classes, such as marginal"
        )
        raise TrainingError(msg)
    known = {n for c in cases for n in annotated_classes(c.merged)}
    never = sorted({n for c in cases for n in range(1, len(c.merged))} - known)
    if never:
        msg = (
            f"method {settings.method} learns each class alone, and no training case distinguishes "
            f"the classes {never} from all others: their outputs would be noise, and would win "
            f"over the background; add a dataset that annotates them, or "
            f"prepare with a label space without them"
        )
        raise TrainingError(msg)


METHOD = Method(objective=ForegroundObjective, network=build, check=check_classes)
