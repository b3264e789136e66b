"""Validation: how well a network does on the cases that choose the best checkpoint."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch

from manifests.merged import annotated_classes
from train.metrics import dice
from train.model import Model
from train.sliding_window import predict_classes
from train.volumes import Volume, read_target

Cell = tuple[str, str]  # dataset, class


def validate(
    model: Model, volumes: Sequence[Volume], *, device: torch.device, overlap: float
) -> dict[Cell, float]:
    """Mean Dice of each class that a dataset annotates; cells without a voxel are left out.

    The case's `merged` is applied to the prediction too, so that the two are of one partition.
    """
    scores: dict[Cell, list[float]] = {}
    for volume in volumes:
        classes = predict_classes(model, volume.image, device=device, overlap=overlap)
        prediction = np.array(volume.merged, np.uint8)[classes]
        truth = read_target(volume)
        for n in annotated_classes(volume.merged):
            cell = volume.dataset, model.label_space.names[n]
            scores.setdefault(cell, []).append(dice(prediction == n, truth == n))
    # Dice has no value where neither holds the class
    known = {cell: [s for s in found if not np.isnan(s)] for cell, found in scores.items()}
    return {cell: fmean(found) for cell, found in known.items() if found}


def mean_score(cells: Mapping[Cell, float]) -> float | None:
    """The mean over cells, which a dataset of many cases does not outweigh; none without cells."""
    return fmean(cells.values()) if cells else None
