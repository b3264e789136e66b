"""Evaluation: every case of a split against what its annotator labelled, and nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests.ground.errors import MarginaliaError, TrainingError
from manifests.table.case import SPLITS, Case
from manifests.table.manifest import Manifest
from train.model import Model
from train.patches.mapped_case import open_case, read_target
from train.prediction.scan import reason_of
from train.prediction.sliding_window import OVERLAP, ClassVolume, predict_classes
from train.prediction.stamp import Stamp
from train.scoring.case_scores import score_case
from train.scoring.metrics import TOLERANCE_MM
from train.scoring.scores import Score, Scores

FOLDER = "evaluation"
SPACING_TOLERANCE = 1e-3  # relative


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    Attributes:
        case: The case.
        scores: One for each class that it annotates; none if it failed.
        prediction: Class ids [z, y, x] on the case's grid, before `merged`; none if it failed.
        failure: Why it could not be scored.
        file: Where the prediction is kept; empty if nowhere.
        note: What was noticed about the prediction.
    """

    case: Case
    scores: tuple[Score, ...] = ()
    prediction: ClassVolume | None = None
    failure: str = ""
    file: str = ""
    note: str = ""


def evaluate(
    model: Model,
    manifest: Manifest,
    *,
    split: str = "test",
    device: torch.device | str = "cpu",
    overlap: float = OVERLAP,
    tolerance_mm: float = TOLERANCE_MM,
) -> Scores:
    """Score a network on a split.

    Args:
        model: The network and how it wants its input.
        manifest: The cases; its label space and spacing must be the model's.
        split: The cases of this split.
        device: Where the network runs.
        overlap: Share of a window that the next one covers again.
        tolerance_mm: Of NSD.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.

    Source: Shi et al. 2021, section 4.5.
    """
    how = {"split": split, "overlap": overlap, "tolerance_mm": tolerance_mm}
    results = evaluate_cases(model, manifest, device=device, **how)
    return collect_scores(results, evaluation_settings(model, manifest, **how))


def evaluate_cases(
    model: Model,
    manifest: Manifest,
    *,
    split: str = "test",
    device: torch.device | str = "cpu",
    overlap: float = OVERLAP,
    tolerance_mm: float = TOLERANCE_MM,
) -> Iterator[CaseResult]:
    """Score a network case by case; the arguments are those of `evaluate`.

    Returns:
        An iterator that predicts and scores a case with each step. A case that fails is reported
        with its reason and does not stop the others.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.
    """
    cases = scorable_cases(model, manifest, split=split)

    def step(case: Case) -> CaseResult:
        try:
            volume = open_case(manifest, case)
            truth = read_target(volume)
            prediction = predict_classes(model, volume.image, device=device, overlap=overlap)
            names = manifest.label_space.names
            scores = score_case(prediction, truth, case, names, tolerance_mm=tolerance_mm)
        except (MarginaliaError, RuntimeError, OSError, ValueError, LookupError) as error:
            return CaseResult(case, failure=reason_of(error))
        return CaseResult(case, scores, prediction)

    return map(step, cases)


def scorable_cases(model: Model, manifest: Manifest, *, split: str) -> list[Case]:
    """List the cases of a split that a model can be scored on.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.
    """
    expected, got = model.label_space, manifest.label_space
    if (expected.names, expected.class_of) != (got.names, got.class_of):
        msg = (
            f"the network tells apart {expected.name!r} {expected.names}, the manifest's cases "
            f"hold {got.name!r} {got.names}; prepare the cases for the network's label space"
        )
        raise TrainingError(msg)
    cases = split_cases(manifest, split)
    for case in cases:
        if not np.allclose(case.spacing_mm, model.spacing_mm, rtol=SPACING_TOLERANCE, atol=0):
            msg = (
                f"case {case.case_id}: its spacing is {case.spacing_mm} mm, the network's is "
                f"{model.spacing_mm} mm; prepare the cases with the network's spacing"
            )
            raise TrainingError(msg)
    return cases


def split_cases(manifest: Manifest, split: str) -> list[Case]:
    """List the cases of a split.

    Raises:
        TrainingError: It has none.
    """
    cases = [case for case in manifest.cases() if case.split == split]
    if not cases:
        found = manifest.table["split"].to_pylist()
        counts = ", ".join(f"{s}: {found.count(s)}" for s in (*SPLITS, None))
        msg = f"no case in split {split!r}; the manifest has {counts}"
        raise TrainingError(msg)
    return cases


def collect_scores(results: Iterable[CaseResult], settings: dict[str, Any]) -> Scores:
    """Put the scores of cases together, one case at a time."""
    scores: list[Score] = []
    said: dict[str, dict[str, str]] = {"failure": {}, "file": {}, "note": {}}
    for result in results:
        scores.extend(result.scores)
        for what, found in said.items():
            if text := getattr(result, what):
                found[result.case.case_id] = text
    ordered = tuple(sorted(scores, key=lambda s: (s.case_id, s.class_id)))
    return Scores(ordered, said["failure"], settings, said["file"], said["note"])


def evaluation_settings(
    model: Model,
    manifest: Manifest,
    *,
    split: str,
    overlap: float = OVERLAP,
    tolerance_mm: float = TOLERANCE_MM,
) -> dict[str, Any]:
    """Say what an evaluation depends on: the truth, the metrics, the network and its overlap."""
    return {
        **truth_settings(manifest, split=split, tolerance_mm=tolerance_mm),
        "prediction": dict(Stamp.of(model, overlap=overlap).settings),
    }


def truth_settings(manifest: Manifest, *, split: str, tolerance_mm: float) -> dict[str, Any]:
    """Say what was scored against, and how; plain values."""
    cases = [c for c in manifest.cases() if c.split == split]
    return {
        "split": split,
        "classes": list(manifest.label_space.names),
        "nsd_tolerance_mm": tolerance_mm,
        "cases": {
            c.case_id: {"image": c.image_sha256, "label": c.label_sha256, "merged": list(c.merged)}
            for c in cases
        },
    }


def scores_folder(run: Path, split: str) -> Path:
    """Return where a run keeps its scores on a split."""
    return run / FOLDER / split
