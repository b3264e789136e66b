"""Class reduction: one value of a sample from the values of its groups or classes."""

from typing import Literal

import torch

from train.shapes import ClassMask, PerClass, PerSample

ClassReduction = Literal["sum", "mean"]


def reduce_classes(values: PerClass, keep: ClassMask, class_reduction: ClassReduction) -> PerSample:
    """Sum or average each sample's kept values; none: 0."""
    total = torch.where(keep, values, 0.0).sum(1)
    return total / keep.sum(1).clamp(min=1) if class_reduction == "mean" else total
