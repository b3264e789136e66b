"""Voxels of the online Dice: only what each case tells apart is counted."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from train.nnunet.annotations import Group, Merged, annotated_groups


def count_voxels(
    predicted: Tensor, target: Tensor, merged: Sequence[Merged], entries: Sequence[Group]
) -> dict[str, np.ndarray]:
    """Count hits and misses of each group that a sample tells apart.

    Args:
        predicted: Class ids [B, *space].
        target: Labels [B, *space]; those that are no class count nowhere.
        merged: Of each sample.
        entries: The groups to count; a class on its own is a group of one.

    Returns:
        `tp_hard`, `fp_hard` and `fn_hard` by entry, as nnU-Net's `validation_step` returns them.
    """
    classes = len(merged[0])
    counts = np.zeros((3, len(entries)))
    place = {group: n for n, group in enumerate(entries)}
    for sample, row in enumerate(merged):
        table = torch.tensor(row, device=predicted.device)
        labels = target[sample].flatten().long()
        counted = (labels >= 0) & (labels < classes)
        pairs = table[labels[counted]] * classes + table[predicted[sample].flatten()[counted]]
        confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu().numpy()
        for group in annotated_groups(row):
            hits = confusion[group[0], group[0]]
            found, there = confusion[:, group[0]].sum(), confusion[group[0]].sum()
            counts[:, place[group]] += hits, found - hits, there - hits
    return dict(zip(("tp_hard", "fp_hard", "fn_hard"), counts, strict=True))
