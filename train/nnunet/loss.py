"""Marginal and exclusion losses of one level of nnU-Net's outputs."""

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor, nn

from manifests.classes.merged import is_full
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
        counted = (labels >= 0) & (labels < self.classes)
        rows = torch.tensor(self.merged, device=logits.device)
        known = labels.clamp(0, self.classes - 1).flatten(1)
        labels = rows.gather(1, known).view_as(labels)
        if not self.batch_dice and bool(counted.all()):
            return self._loss(logits, labels, self.merged)
        total = logits.sum() * 0.0  # of a batch without any counted voxel
        for pool in self._pools():
            some = [(logits[b].flatten(1), labels[b].flatten(), counted[b].flatten()) for b in pool]
            voxels = torch.cat([values[:, keep] for values, _, keep in some], 1)
            ids = torch.cat([label[keep] for _, label, keep in some])
            if len(ids):
                share = len(pool) / len(labels)
                loss = self._loss(voxels[None], ids[None], (self.merged[pool[0]],))
                total = total + share * loss
        return total

    def _loss(self, logits: Logits, labels: Target, merged: Sequence[Merged]) -> Scalar:
        """Fully labelled samples have the regular losses, the others all four."""
        rows = torch.tensor(merged, device=logits.device)
        partly = [not is_full(row) for row in merged]
        if not any(partly):
            return self.regular(logits, labels, rows)
        factor = torch.tensor(partly, dtype=torch.float32, device=logits.device)
        return self.partial(logits, labels, rows, exclusion_of_sample=factor)

    def _pools(self) -> Iterator[list[int]]:
        """Yield the samples whose voxels are counted together."""
        if not self.batch_dice:
            yield from ([b] for b in range(len(self.merged)))
            return
        for merged in dict.fromkeys(self.merged):
            yield [b for b, other in enumerate(self.merged) if other == merged]
