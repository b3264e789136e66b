"""Model: a network with all that prediction needs: classes, grid and intensity scale."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from manifests.classes.label_space import LabelSpace
from manifests.volumes.resampling.separable import Interpolation
from train.device import Precision
from train.learnt import Learnt


@dataclass(frozen=True)
class Normalisation:
    """How Hounsfield units become the network's input: clipped, then centred and scaled."""

    low_hu: float
    high_hu: float
    mean_hu: float
    std_hu: float

    def apply(self, hu: Tensor) -> Tensor:
        """Return normalised Hounsfield units of any shape as float32."""
        return (hu.float().clamp(self.low_hu, self.high_hu) - self.mean_hu) / self.std_hu


def normalise(hu: np.ndarray | Tensor, normalisation: Normalisation) -> Tensor:
    """Return Hounsfield units of any shape as a network's input, float32."""
    return normalisation.apply(torch.as_tensor(hu))


@dataclass(frozen=True)
class Model:
    """A network, and the rest of what prediction needs.

    Attributes:
        network: Maps images [B, 1, z, y, x] to logits [B, N, z, y, x].
        spacing_mm: Spacing along x, y, z of the grid that it was trained on.
        patch_size_zyx: Voxels of a training patch, and of the sliding window.
        mirrored_axes: Axes (0 is z, 2 is x) along which it was trained on mirror images, too.
        precision: Of the network's computation, where the device can.
        interpolation: How the images that it was trained on were resampled.
        fold: The fold of a cross-validation that it was validated on, if it was one.
        learnt: The cases that it was trained and validated on; older checkpoints do not say it.
        others: Further networks of an ensemble: their probabilities and its own are averaged.
    """

    network: nn.Module
    label_space: LabelSpace
    normalisation: Normalisation
    spacing_mm: tuple[float, float, float]
    patch_size_zyx: tuple[int, int, int]
    mirrored_axes: tuple[int, ...] = ()
    precision: Precision = "float32"
    interpolation: Interpolation = "linear"
    fold: int | None = None
    learnt: Learnt = field(default_factory=Learnt)
    others: tuple["Model", ...] = ()

    @property
    def networks(self) -> tuple["Model", ...]:
        """Return all networks of an ensemble, or the only one."""
        return (self, *self.others)
