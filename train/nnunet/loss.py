"""Marginal and exclusion losses of nnU-Net's outputs."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import is_full
from train.device import on_device
from train.losses import MarginalExclusionLoss
from train.nnunet.annotations import Merged
from train.shapes import Scalar

MARGINAL = ("marginal_cross_entropy", "marginal_dice")


@final
class PartialLabelLoss(nn.Module):
    """The loss of outputs and labels as nnU-Net passes them; what labels mean is set before.

    Dice losses are averaged over classes: that keeps the scale of nnU-Net's own loss, by which its
    gradients are clipped.
    """

    def __init__(
        self,
        classes: int,
        *,
        exclusion: bool,
        batch_dice: bool,
        level_weights: Sequence[float] = (1.0,),
    ) -> None:
        """Keep the options.

        Args:
            classes: N; labels below 0 (padding) and from N on (nnU-Net's ignore value) count
                nowhere.
            exclusion: Whether partly labelled samples have exclusion losses.
            batch_dice: Whether Dice is that of all samples with the same merged classes together.
                It is not gathered from other processes.
            level_weights: Of each level of deep supervision; one of weight 0 is left out.
        """
        super().__init__()
        self.classes, self.batch_dice = classes, batch_dice
        self.used = [n for n, weight in enumerate(level_weights) if weight]
        self.weights = [level_weights[n] for n in self.used]
        self.regular = MarginalExclusionLoss(terms=MARGINAL, class_reduction="mean")
        self.partial = MarginalExclusionLoss(class_reduction="mean") if exclusion else self.regular
        self.merged: tuple[Merged, ...] = ()

    def forward(
        self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Scalar:
        """Return the mean over samples.

        Args:
            output: Logits [B, N, *space], of each level if there are several.
            target: Labels [B, 1, *space], of each level.
        """
        levels, targets = ([t] if isinstance(t, Tensor) else t for t in (output, target))
        levels = [levels[n] for n in self.used]
        labels = self._representatives([targets[n] for n in self.used])
        if not self.batch_dice:
            return self._loss(levels, labels, self.merged)
        shares: list[Tensor] = []
        for merged in dict.fromkeys(self.merged):
            pool = [b for b, other in enumerate(self.merged) if other == merged]
            voxels = [torch.cat([x[b].flatten(1) for b in pool], 1)[None] for x in levels]
            ids = [torch.cat([x[b].flatten() for b in pool])[None] for x in labels]
            shares.append(len(pool) / len(self.merged) * self._loss(voxels, ids, (merged,)))
        return torch.stack(shares).sum()

    def _representatives(self, targets: Sequence[Tensor]) -> list[Tensor]:
        """Return the labels [B, *space] of each level in the sample's own merged classes."""
        # all levels in one look-up, with a row's ends for what counts nowhere
        rows = torch.tensor([(IGNORED, *merged, IGNORED) for merged in self.merged])
        ids = torch.cat([target.flatten(1) for target in targets], 1).long()
        places = ids.clamp(-1, self.classes).add_(1)
        found = on_device(rows, ids.device).gather(1, places)
        parts = found.split([target[0].numel() for target in targets], 1)
        return [part.unflatten(1, t.shape[2:]) for part, t in zip(parts, targets, strict=True)]

    def _loss(
        self, levels: Sequence[Tensor], labels: Sequence[Tensor], merged: Sequence[Merged]
    ) -> Scalar:
        """Fully labelled samples have the regular losses, the others all four."""
        device = levels[0].device
        rows = on_device(torch.tensor(merged), device)
        partly = [not is_full(row) for row in merged]
        if not any(partly):
            return self.regular.over_levels(levels, labels, rows, self.weights)
        factor = on_device(torch.tensor(partly, dtype=torch.float32), device)
        return self.partial.over_levels(
            levels, labels, rows, self.weights, exclusion_of_sample=factor
        )
