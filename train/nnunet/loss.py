"""Marginal and exclusion losses of one level of nnU-Net's outputs."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import is_full
from train.device import on_device
from train.losses import MarginalExclusionLoss
from train.nnunet.annotations import Merged
from train.shapes import Logits, Scalar, Target

MARGINAL = ("marginal_cross_entropy", "marginal_dice")


@final
class PartialLabelLoss(nn.Module):
    """The loss of outputs and labels as nnU-Net passes them; what labels mean is set before.

    Dice losses are averaged over classes: that keeps the scale of nnU-Net's own loss, by which its
    gradients are clipped.
    """

    def __init__(self, classes: int, *, exclusion: bool, batch_dice: bool) -> None:
        """Keep the options.

        Args:
            classes: N; labels below 0 (padding) and from N on (nnU-Net's ignore value) count
                nowhere.
            exclusion: Whether partly labelled samples have exclusion losses.
            batch_dice: Whether Dice is that of all samples with the same merged classes together.
                It is not gathered from other processes.
        """
        super().__init__()
        self.classes, self.batch_dice = classes, batch_dice
        self.regular = MarginalExclusionLoss(terms=MARGINAL, class_reduction="mean")
        self.partial = MarginalExclusionLoss(class_reduction="mean") if exclusion else self.regular
        self.merged: tuple[Merged, ...] = ()

    def forward(self, logits: Logits, target: Tensor) -> Scalar:
        """Return the mean over samples; target is [B, 1, *space]."""
        labels = target[:, 0].long()
        rows = on_device(torch.tensor(self.merged), logits.device)
        known = labels.clamp(0, self.classes - 1).flatten(1)
        representatives = rows.gather(1, known).view_as(labels)
        counted = (labels >= 0) & (labels < self.classes)
        labels = representatives.masked_fill_(~counted, IGNORED)
        if not self.batch_dice:
            return self._loss(logits, labels, self.merged)
        shares: list[Tensor] = []
        for merged in dict.fromkeys(self.merged):
            pool = [b for b, other in enumerate(self.merged) if other == merged]
            voxels = torch.cat([logits[b].flatten(1) for b in pool], 1)
            ids = torch.cat([labels[b].flatten() for b in pool])
            loss = self._loss(voxels[None], ids[None], (merged,))
            shares.append(len(pool) / len(labels) * loss)
        return torch.stack(shares).sum()

    def _loss(self, logits: Logits, labels: Target, merged: Sequence[Merged]) -> Scalar:
        """Fully labelled samples have the regular losses, the others all four."""
        rows = on_device(torch.tensor(merged), logits.device)
        partly = [not is_full(row) for row in merged]
        if not any(partly):
            return self.regular(logits, labels, rows)
        factor = on_device(torch.tensor(partly, dtype=torch.float32), logits.device)
        return self.partial(logits, labels, rows, exclusion_of_sample=factor)
