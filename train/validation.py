"""Validation: how well a network does on the cases that choose the best checkpoint."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import numpy as np
import torch

from manifests.merged import annotated_classes
from train.metrics import dice
from train.model import Model
from train.sliding_window import predict_classes
from train.volumes import Volume, read_target

Cell = tuple[str, str]  # dataset, class
CaseScores = dict[Cell, float]


def score_volume(
    model: Model, volume: Volume, *, device: torch.device, overlap: float
) -> CaseScores:
    """Dice of each class that a case annotates; without those that neither side holds.

    The case's `merged` is applied to the prediction too, so that the two are of one partition.
    """
    classes = predict_classes(model, volume.image, device=device, overlap=overlap)
    prediction = np.array(volume.merged, np.uint8)[classes]
    truth = read_target(volume)
    scores = {
        (volume.dataset, model.label_space.names[n]): dice(prediction == n, truth == n)
        for n in annotated_classes(volume.merged)
    }
    return {cell: score for cell, score in scores.items() if not np.isnan(score)}


def mean_cells(scores: Iterable[CaseScores]) -> dict[Cell, float]:
    """The mean of each cell over the cases that have it."""
    cells: dict[Cell, list[float]] = {}
    for case in scores:
        for cell, score in case.items():
            cells.setdefault(cell, []).append(score)
    return {cell: fmean(found) for cell, found in cells.items()}


def mean_score(cells: Mapping[Cell, float]) -> float | None:
    """The mean over cells, which a dataset of many cases does not outweigh; none without cells."""
    return fmean(cells.values()) if cells else None
