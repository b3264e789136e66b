"""Evaluation: every case of a split against what its annotator labelled, and nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests.case import SPLITS, Case
from manifests.errors import MarginaliaError, TrainingError
from manifests.manifest import Manifest
from manifests.merged import annotated_classes
from train.metrics import diagonal_mm, dice, surface_distance
from train.model import Model
from train.scan import reason_of
from train.scores import Outcome, Score, Scores
from train.sliding_window import OVERLAP, ClassVolume, predict_classes
from train.stamp import Stamp
from train.volumes import open_volume, read_target

FOLDER = "evaluation"
SPACING_TOLERANCE = 1e-3  # relative


@dataclass(frozen=True)
class Evaluated:
    """What became of one case.

    Attributes:
        case: The case.
        scores: One for each class that it annotates; none if it failed.
        prediction: Class ids [z, y, x] on the case's grid, before `merged`; none if it failed.
        failure: Why it could not be scored.
    """

    case: Case
    scores: tuple[Score, ...] = ()
    prediction: ClassVolume | None = None
    failure: str = ""


def evaluate(
    model: Model,
    manifest: Manifest,
    *,
    split: str = "test",
    device: torch.device | str = "cpu",
    overlap: float = OVERLAP,
) -> Scores:
    """Score a network on a split.

    Args:
        model: The network and how it wants its input.
        manifest: The cases; its label space and spacing must be the model's.
        split: The cases of this split.
        device: Where the network runs.
        overlap: Share of a window that the next one covers again.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.

    Source: Shi et al. 2021, section 4.5.
    """
    results = evaluate_cases(model, manifest, split=split, device=device, overlap=overlap)
    return gather(results, settings_of(model, manifest, split=split, overlap=overlap))


def evaluate_cases(
    model: Model,
    manifest: Manifest,
    *,
    split: str = "test",
    device: torch.device | str = "cpu",
    overlap: float = OVERLAP,
) -> Iterator[Evaluated]:
    """Score a network case by case; the arguments are those of `evaluate`.

    Returns:
        An iterator that predicts and scores a case with each step. A case that fails is reported
        with its reason and does not stop the others.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.
    """
    cases = cases_of(model, manifest, split=split)

    def step(case: Case) -> Evaluated:
        try:
            volume = open_volume(manifest, case)
            truth = read_target(volume)
            prediction = predict_classes(model, volume.image, device=device, overlap=overlap)
            scores = score_case(prediction, truth, case, manifest.label_space.names)
        except (MarginaliaError, RuntimeError, OSError, ValueError, LookupError) as error:
            return Evaluated(case, failure=reason_of(error))
        return Evaluated(case, scores, prediction)

    return map(step, cases)


def cases_of(model: Model, manifest: Manifest, *, split: str) -> list[Case]:
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
    cases = [case for case in manifest.cases() if case.split == split]
    if not cases:
        found = manifest.table["split"].to_pylist()
        counts = ", ".join(f"{s}: {found.count(s)}" for s in (*SPLITS, None))
        msg = f"no case in split {split!r}; the manifest has {counts}"
        raise TrainingError(msg)
    for case in cases:
        if not np.allclose(case.spacing_mm, model.spacing_mm, rtol=SPACING_TOLERANCE, atol=0):
            msg = (
                f"case {case.case_id}: its spacing is {case.spacing_mm} mm, the network's is "
                f"{model.spacing_mm} mm; prepare the cases with the network's spacing"
            )
            raise TrainingError(msg)
    return cases


def score_case(
    prediction: ClassVolume, truth: ClassVolume, case: Case, names: Sequence[str]
) -> tuple[Score, ...]:
    """Score each class that a case annotates, and no other.

    A class that is annotated is alone in its group of merged classes, so that both volumes can be
    asked for it as they are. An organ that the annotator left out is asked for nowhere: finding it
    costs nothing, unless it is found within an organ that is annotated.

    Args:
        prediction: Class ids.
        truth: Representatives, on the same grid.
        case: Says which classes are told apart, and the spacing.
        names: Name of each of the N classes.
    """
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    farthest_mm = diagonal_mm(truth.shape, case.spacing_mm)
    scores = []
    for n in annotated_classes(case.merged):
        found, labelled = prediction == n, truth == n
        distance = surface_distance(found, labelled, spacing_mm=case.spacing_mm)
        scores.append(
            Score(
                dataset=case.dataset,
                case_id=case.case_id,
                class_id=n,
                class_name=names[n],
                outcome=_outcome(bool(found.any()), bool(labelled.any())),
                dice=dice(found, labelled),
                # NaN stays: np.minimum hands it on
                hausdorff_mm=float(np.minimum(distance.hausdorff_mm, farthest_mm)),
                hd95_mm=float(np.minimum(distance.hd95_mm, farthest_mm)),
                truth_ml=np.count_nonzero(labelled) * voxel_ml,
                prediction_ml=np.count_nonzero(found) * voxel_ml,
            )
        )
    return tuple(scores)


def gather(results: Iterable[Evaluated], settings: dict[str, Any]) -> Scores:
    """Put the scores of cases together, one case at a time."""
    scores: list[Score] = []
    failures: dict[str, str] = {}
    for result in results:
        scores.extend(result.scores)
        if result.failure:
            failures[result.case.case_id] = result.failure
    return Scores(tuple(scores), failures, settings)


def settings_of(
    model: Model, manifest: Manifest, *, split: str, overlap: float = OVERLAP
) -> dict[str, Any]:
    """Say what an evaluation depends on: the network, the cases' labels and images, the overlap."""
    cases = [c for c in manifest.cases() if c.split == split]
    return {
        "split": split,
        "cases": {c.case_id: [c.image_sha256, c.label_sha256] for c in cases},
        "prediction": dict(Stamp.of(model, overlap=overlap).settings),
    }


def scores_folder(run: Path, split: str) -> Path:
    """Return where a run keeps its scores on a split."""
    return run / FOLDER / split


def _outcome(found: bool, labelled: bool) -> Outcome:
    if found and labelled:
        return "compared"
    if labelled:
        return "missed"
    return "invented" if found else "absent"
