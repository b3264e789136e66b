"""Evaluation: every case of a split against what its annotator labelled, and nothing else."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ground.errors import TrainingError
from manifests.table.case import SPLITS, Case
from manifests.table.manifest import Manifest
from manifests.table.validate import unsound_rows
from train.checkpoints.checkpoint import Which
from train.device import pick_device
from train.model import Model
from train.patches.mapped_case import open_case, read_target
from train.prediction.scan import reason_of
from train.prediction.sliding_window import OVERLAP, ClassVolume, Predictor, predict_classes
from train.prediction.stamp import Stamp
from train.scoring.case_scores import score_case
from train.scoring.label_mapping import LabelMapping
from train.scoring.label_maps import LabelMapFiles, read_label_map
from train.scoring.metrics import TOLERANCE_MM
from train.scoring.scores import COUNT_SEEN, Score, Scores
from train.seen import seen_in_training

SPACING_TOLERANCE = 1e-3  # relative


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Which cases to score, how, and where the scores go.

    Attributes:
        tolerance_mm: Of NSD.
        out: Folder for the scores; by default one in the folder of what is scored.
        overlap: Share of a window that the next one covers again.
        labels: Which values of label maps mean which class: a public model's name, or a file; by
            default class ids.
        include_seen: Count cases that the network was trained on in the means.
        fold: Fold of the manifest that stands for the validation split, of a cross-validation.
        where: An SQL condition on the manifest's columns: only cases that meet it are scored.
    """

    split: str = "test"
    tolerance_mm: float = TOLERANCE_MM
    out: Path | None = None
    checkpoint: Which = "best"
    device: str = "cpu"
    overlap: float = OVERLAP
    labels: Path | None = None
    jobs: int = 1
    where: str | None = None
    include_seen: bool = False
    fold: int | None = None

    def takes(self, case: Case) -> bool:
        """Return whether a case is to be scored."""
        if self.fold is not None and self.split == "validation":
            return case.fold == self.fold
        return case.split == self.split


@dataclass(frozen=True)
class CaseResult:
    """The scores of one case, or why it could not be scored.

    Attributes:
        prediction: Class ids [z, y, x] on the case's grid, before `merged`; only a network's.
        failure: Empty if the case was scored.
        file: Where the prediction is kept; empty if nowhere.
        note: What was noticed about the prediction.
        seen: As which case the network was trained on this one, in words; empty if it was not.
    """

    case: Case
    scores: tuple[Score, ...] = ()
    prediction: ClassVolume | None = None
    failure: str = ""
    file: str = ""
    note: str = ""
    seen: str = ""


def evaluate_cases(
    model: Model, manifest: Manifest, request: EvaluationRequest
) -> Iterator[CaseResult]:
    """Score a network on a split, case by case.

    Returns:
        An iterator that predicts and scores a case with each step. A case that fails is reported
        with its reason and does not stop the others.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.

    Source: Shi et al. 2021, section 4.5.
    """
    cases = scorable_cases(model, manifest, request)
    predictor = Predictor(model, pick_device(request.device), request.overlap)
    names, unsound = manifest.label_space.names, unsound_rows(manifest)
    learnt = [network.learnt for network in model.networks]
    seen = seen_in_training(learnt, {case.case_id: case.fingerprint for case in cases})

    def step(case: Case) -> CaseResult:
        if case.case_id in unsound:
            return CaseResult(case, failure=unsound[case.case_id])
        try:
            volume = open_case(manifest, case)
            truth = read_target(volume)
            prediction = predict_classes(predictor, volume.image)
            scores = score_case(prediction, truth, case, names, tolerance_mm=request.tolerance_mm)
        except Exception as error:
            return CaseResult(case, failure=reason_of(error))
        return CaseResult(case, scores, prediction, seen=seen.get(case.case_id, ""))

    return map(step, cases)


def evaluate_label_maps(
    found: LabelMapFiles, manifest: Manifest, mapping: LabelMapping, request: EvaluationRequest
) -> Iterator[CaseResult]:
    """Score label maps, several cases at a time, in the order of the cases.

    Returns:
        An iterator over the cases, those without a label map first. A case that fails is reported
        with its reason and does not stop the others.
    """
    how = {"known": mapping.known, "tolerance_mm": request.tolerance_mm}
    names, unsound = manifest.label_space.names, unsound_rows(manifest)

    def step(case: Case, path: Path) -> CaseResult:
        if case.case_id in unsound:
            return CaseResult(case, failure=unsound[case.case_id])
        try:
            prediction, note = read_label_map(path, case, mapping)
            truth = read_target(open_case(manifest, case))
            scores = score_case(prediction, truth, case, names, **how)
        except Exception as error:
            return CaseResult(case, failure=reason_of(error))
        return CaseResult(case, scores, file=str(path.resolve()), note=note)

    for case_id, problem in found.problems.items():
        yield CaseResult(manifest.case(case_id), failure=problem)
    # threads: reading, numpy and the tree spend their time outside of Python's lock
    with ThreadPoolExecutor(max_workers=request.jobs) as pool:
        yield from pool.map(step, map(manifest.case, found.files), found.files.values())


def scorable_cases(model: Model, manifest: Manifest, request: EvaluationRequest) -> list[Case]:
    """Return the cases of a split, all of which a model can be scored on.

    Raises:
        TrainingError: The model does not fit the manifest, or the split has no case.
    """
    require_same_classes(model, manifest)
    cases = wanted_cases(manifest, request)
    unsound = unsound_rows(manifest)  # each of which fails alone
    for case in (c for c in cases if c.case_id not in unsound):
        require_same_spacing(model, case)
    return cases


def require_same_classes(model: Model, manifest: Manifest) -> None:
    """Refuse a network of other classes than those of a manifest's cases.

    Raises:
        TrainingError: It is one.
    """
    expected, got = model.label_space, manifest.label_space
    if (expected.names, expected.class_of) != (got.names, got.class_of):
        msg = (
            f"the network has the classes {expected.name!r} {expected.names}, the manifest's cases "
            f"have {got.name!r} {got.names}; prepare the cases for the network's label space"
        )
        raise TrainingError(msg)


def require_same_spacing(model: Model, case: Case) -> None:
    """Refuse a case of another spacing than a network's.

    Raises:
        TrainingError: It is one.
    """
    if not np.allclose(case.spacing_mm, model.spacing_mm, rtol=SPACING_TOLERANCE, atol=0):
        msg = (
            f"case {case.case_id}: its spacing is {case.spacing_mm} mm, the network's is "
            f"{model.spacing_mm} mm; prepare the cases with the network's spacing"
        )
        raise TrainingError(msg)


def wanted_cases(manifest: Manifest, request: EvaluationRequest) -> list[Case]:
    """Return the cases of a split, or of a fold.

    Raises:
        TrainingError: It has none.
    """
    cases = [case for case in manifest.cases() if request.takes(case)]
    if not cases:
        found = manifest.table["split"].to_pylist()
        counts = ", ".join(f"{s}: {found.count(s)}" for s in (*SPLITS, None))
        wanted = f"split {request.split!r}"
        if request.fold is not None and request.split == "validation":
            wanted = f"fold {request.fold}"
        msg = f"no case in {wanted}; the manifest has {counts}"
        raise TrainingError(msg)
    return cases


def collect_scores(results: Iterable[CaseResult], settings: dict[str, Any]) -> Scores:
    """Put the scores of cases together, one case at a time."""
    scores: list[Score] = []
    said: dict[str, dict[str, str]] = {"failure": {}, "file": {}, "note": {}, "seen": {}}
    for result in results:
        scores.extend(result.scores)
        for what, found in said.items():
            if text := getattr(result, what):
                found[result.case.case_id] = text
    ordered = tuple(sorted(scores, key=lambda s: (s.case_id, s.class_id)))
    return Scores(ordered, said["failure"], settings, said["file"], said["note"], seen=said["seen"])


def evaluation_settings(
    model: Model, manifest: Manifest, request: EvaluationRequest
) -> dict[str, Any]:
    """Return what an evaluation depends on: truth, metrics, network and overlap."""
    stamp = Stamp.of(model, overlap=request.overlap)
    return {**truth_settings(manifest, request), "prediction": dict(stamp.settings)}


def truth_settings(manifest: Manifest, request: EvaluationRequest) -> dict[str, Any]:
    """Return what is scored against, and how, as plain values."""
    return {
        "split": request.split,
        **({"where": request.where} if request.where else {}),
        "classes": list(manifest.label_space.names),
        "nsd_tolerance_mm": request.tolerance_mm,
        # cases of the training are what is asked for, or are not to count
        **({COUNT_SEEN: True} if request.include_seen or request.split == "train" else {}),
        "cases": {
            c.case_id: {"image": c.image_sha256, "label": c.label_sha256, "merged": list(c.merged)}
            for c in manifest.cases()
            if request.takes(c)
        },
    }
