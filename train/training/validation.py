"""Validation: how well a network does on the cases that choose the best checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from lightning_fabric import Fabric
from matplotlib.figure import Figure

from manifests.classes.merged import annotated_classes
from train.model import Model
from train.patches.mapped_case import MappedCase, read_target
from train.pictures.overlays import overlay_figure
from train.prediction.sliding_window import ClassVolume, Predictor, predict_classes
from train.scoring.metrics import dice
from train.training.processes import all_gather, shard

Cell = tuple[str, str]  # dataset, class
CaseScores = dict[Cell, float]


@dataclass(frozen=True)
class Validation:
    """What was found.

    Attributes:
        cells: Mean Dice by dataset and class.
        pictures: By case id, the first case of each dataset: prediction and truth.
    """

    cells: dict[Cell, float]
    pictures: dict[str, Figure]


def validate(
    model: Model, volumes: Sequence[MappedCase], fabric: Fabric, *, overlap: float
) -> Validation:
    """Score and draw volumes, of which each process has its share; all must call it."""
    scores: list[CaseScores] = []
    pictures: list[tuple[str, Figure]] = []
    first = {v.dataset: v.case_id for v in reversed(volumes)}
    for volume in shard(volumes, fabric):
        found, prediction = score_volume(model, volume, device=fabric.device, overlap=overlap)
        scores.append(found)
        if volume.case_id == first[volume.dataset]:
            pictures.append((volume.case_id, _draw(model, volume, prediction)))
    return Validation(mean_cells(all_gather(fabric, scores)), dict(all_gather(fabric, pictures)))


def score_volume(
    model: Model, volume: MappedCase, *, device: torch.device, overlap: float
) -> tuple[CaseScores, ClassVolume]:
    """Dice of each class that a case annotates, and the prediction; not what neither side holds.

    The case's `merged` is applied to the prediction too, so that the two are of one partition.
    """
    classes = predict_classes(Predictor(model, device, overlap), volume.image)
    prediction = np.array(volume.merged, np.uint8)[classes]
    truth = read_target(volume)
    scores = {
        (volume.dataset, model.label_space.names[n]): dice(prediction == n, truth == n)
        for n in annotated_classes(volume.merged)
    }
    return {cell: score for cell, score in scores.items() if not np.isnan(score)}, classes


def _draw(model: Model, volume: MappedCase, prediction: ClassVolume) -> Figure:
    return overlay_figure(
        volume.image,
        read_target(volume),
        {"prediction": prediction},
        label_space=model.label_space,
        spacing_mm=model.spacing_mm,
        annotated=annotated_classes(volume.merged),
        title=volume.case_id,
    )


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
