"""An evaluation: what is to be scored, how, and where the scores go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from manifests.ground.errors import TrainingError
from manifests.table.flat_names import flat_names
from manifests.table.manifest import Manifest, manifest_file, read_manifest
from manifests.table.sql import select_cases
from train.checkpoints.ensembles import load_ensemble
from train.checkpoints.fold_folders import fold_folders
from train.prediction.scan import reason_of
from train.scoring.evaluate import (
    CaseResult,
    EvaluationRequest,
    evaluate_cases,
    evaluate_label_maps,
    evaluation_settings,
    truth_settings,
    wanted_cases,
)
from train.scoring.label_mapping import LabelMapping, identity_mapping
from train.scoring.label_maps import LabelMapFiles, find_label_maps, write_label_map
from train.scoring.labels_file import read_label_mapping
from train.scoring.scores import scores_folder

PREDICTIONS = "predictions"
_LISTED = 5  # files or cases named in a remark


@dataclass(frozen=True)
class Evaluation:
    """Cases that are scored while the results are iterated over.

    Attributes:
        settings: What the scores depend on.
        missing: Cases that will fail since they have no prediction, as a remark says.
    """

    name: str
    manifest: Manifest
    folder: Path
    settings: dict[str, Any]
    results: Iterator[CaseResult]
    remarks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def evaluate_run(
    run: Path | Sequence[Path], manifest_path: Path, request: EvaluationRequest
) -> Evaluation:
    """Evaluate the network of a run, or the ensemble of several, and keep what it predicts.

    In a cross-validation, each case of the validation is predicted by the network of its fold,
    which was not trained on it; any other split is predicted by the ensemble of all folds.

    Raises:
        MarginaliaError: A run or the manifest cannot be read, or they do not fit.
    """
    first, *others = runs = [run] if isinstance(run, Path) else list(run)
    every = read_manifest(manifest_path)
    manifest = _chosen(every, manifest_path, request)
    folder = request.out or scores_folder(first, request.split, request.where)
    folds = [] if others or request.split != "validation" else fold_folders(first)
    groups = [[fold] for fold in folds] or [runs]
    parts = [_part(group, manifest, request) for group in groups]
    settings = parts[0][0]
    if folds:
        settings = {
            **settings,
            "cases": {k: v for part, _ in parts for k, v in part["cases"].items()},
            "prediction": {"folds": [part["prediction"] for part, _ in parts]},
        }
    names = flat_names(every.case_ids())
    results = chain.from_iterable(found for _, found in parts)
    return Evaluation(
        name="+".join(path.resolve().name for path in runs),
        manifest=manifest,
        folder=folder,
        settings={**settings, "manifest": str(manifest_file(manifest_path).resolve())},
        results=(_keep(result, folder, names[result.case.case_id]) for result in results),
    )


def _part(
    runs: Sequence[Path], manifest: Manifest, request: EvaluationRequest
) -> tuple[dict[str, Any], Iterator[CaseResult]]:
    """Return the settings and the results of what one network, or one ensemble, is scored on."""
    model = load_ensemble(runs, which=request.checkpoint)
    if not model.others:
        request = replace(request, fold=model.fold)
    return evaluation_settings(model, manifest, request), evaluate_cases(model, manifest, request)


def evaluate_folder(
    predictions: Path, manifest_path: Path, request: EvaluationRequest
) -> Evaluation:
    """Evaluate a folder of label maps.

    Raises:
        MarginaliaError: The folder, the manifest or the file of labels cannot be used.
    """
    every = read_manifest(manifest_path)
    manifest, space = _chosen(every, manifest_path, request), every.label_space
    mapping = (
        read_label_mapping(request.labels, space)
        if request.labels
        else identity_mapping(len(space))
    )
    cases = wanted_cases(manifest, request)
    found = find_label_maps(predictions, cases, list(every.cases()))
    prediction = {
        "folder": str(predictions.resolve()),
        "values": {str(value): n for value, n in sorted(mapping.class_of.items())},
    }
    return Evaluation(
        name=predictions.resolve().name,
        manifest=manifest,
        folder=request.out or scores_folder(predictions, request.split, request.where),
        settings={
            **truth_settings(manifest, request),
            "prediction": prediction,
            "manifest": str(manifest_file(manifest_path).resolve()),
        },
        results=evaluate_label_maps(found, manifest, mapping, request),
        remarks=tuple(_remarks(found, mapping, space.names)),
        missing=found.missing,
    )


def _chosen(manifest: Manifest, path: Path, request: EvaluationRequest) -> Manifest:
    """Return the manifest with those cases alone that the request's condition chooses."""
    if request.where is None:
        return manifest
    with select_cases(path, request.where) as cases:
        chosen = set(cases.ids())
    if not chosen:
        msg = f"no case of {path} meets --where {request.where!r}; `marginalia inspect` shows them"
        raise TrainingError(msg)
    rows = [row for row, case_id in enumerate(manifest.case_ids()) if case_id in chosen]
    return manifest.with_table(manifest.table.take(rows))


def _keep(result: CaseResult, folder: Path, name: str) -> CaseResult:
    if result.prediction is None:
        return result
    file = f"{PREDICTIONS}/{name}.nii.gz"
    try:
        write_label_map(folder / file, result.prediction, result.case)
    except (OSError, RuntimeError) as error:
        failure = f"it was scored, but its label map cannot be kept: {reason_of(error)}"
        return replace(result, failure=failure)
    return replace(result, file=file)


def _remarks(found: LabelMapFiles, mapping: LabelMapping, names: Sequence[str]) -> Iterator[str]:
    if mapping.ignored:
        told = _some(mapping.ignored)
        yield f"counted as background, being no class here, or several: {told}"
    if mapping.unknown:
        yield (
            f"not understood, and counted as background: {', '.join(mapping.unknown)}; if one of "
            f"them means a class, give it the name of the class in the labels file"
        )
    if unknown := [names[n] for n in range(1, len(names)) if n not in mapping.known]:
        yield f"not scored, since no value means them: {', '.join(unknown)}"
    if found.extra:
        yield f"{len(found.extra)} label maps of no case of the manifest: {_some(found.extra)}"
    if found.missing:
        first = found.missing[0]
        wanted = len(found.files) + len(found.problems)
        yield (
            f"{len(found.missing)} of {wanted} cases have no label map, and fail: "
            f"{_some(found.missing)}; of {first}: {found.problems[first]}"
        )


def _some(items: Sequence[object]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(map(str, items[:_LISTED])) + more
