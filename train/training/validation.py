"""Validation: Dice of a network on the cases that choose the best checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from lightning_fabric import Fabric
from matplotlib.figure import Figure

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import annotated_classes
from train.model import Model
from train.patches.mapped_case import MappedCase, read_target
from train.pictures.overlays import LabelledScan, overlay_figure
from train.planning.schedule import means_by_key
from train.prediction.sliding_window import ClassVolume, Predictor, predict_classes
from train.scoring.metrics import dice
from train.training.processes import all_gather, shard

Cell = tuple[str, str]  # dataset, class
CaseScores = dict[Cell, float]


@dataclass(frozen=True)
class Validation:
    """Mean Dice by dataset and class, and a picture of the first case of each dataset by its id."""

    cells: dict[Cell, float]
    pictures: dict[str, Figure]


def validate(
    model: Model, cases: Sequence[MappedCase], fabric: Fabric, *, overlap: float
) -> Validation:
    """Score cases, of which each process has its share, and draw some; all must call it."""
    scores: list[tuple[Cell, float]] = []
    pictures: list[tuple[str, Figure]] = []
    first = {c.dataset: c.case_id for c in reversed(cases)}
    for case in shard(cases, fabric):
        found, prediction = score_case(model, case, device=fabric.device, overlap=overlap)
        scores.extend(found.items())
        if case.case_id == first[case.dataset]:
            pictures.append((case.case_id, _draw(model, case, prediction)))
    cells = means_by_key(all_gather(fabric, scores))
    return Validation(cells, dict(all_gather(fabric, pictures)))


def score_case(
    model: Model, case: MappedCase, *, device: torch.device, overlap: float
) -> tuple[CaseScores, ClassVolume]:
    """Return Dice of each class that a case annotates, and the prediction.

    A class that neither truth nor prediction holds is left out. The case's `merged` is applied to
    the prediction too, so that both have the same groups. Where nobody looked, neither has any.
    """
    classes = predict_classes(Predictor(model, device, overlap), case.image)
    truth = read_target(case)
    prediction = np.where(truth == IGNORED, IGNORED, np.array(case.merged, np.uint8)[classes])
    scores = {
        (case.dataset, model.label_space.names[n]): dice(prediction == n, truth == n)
        for n in annotated_classes(case.merged)
    }
    return {cell: score for cell, score in scores.items() if not np.isnan(score)}, classes


def _draw(model: Model, case: MappedCase, prediction: ClassVolume) -> Figure:
    truth, annotated = read_target(case), annotated_classes(case.merged)
    return overlay_figure(
        LabelledScan(case.image, truth, model.label_space, model.spacing_mm, annotated),
        {"prediction": prediction},
        title=case.case_id,
    )


def mean_score(cells: Mapping[Cell, float]) -> float | None:
    """Return the mean over cells, not over cases; None without cells."""
    return fmean(cells.values()) if cells else None
