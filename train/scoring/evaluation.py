"""An evaluation: what is to be scored, how, and where the scores go."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.table.manifest import Manifest, manifest_file, read_manifest
from train.checkpoints.checkpoint import Which
from train.checkpoints.restoration import load_model
from train.device import pick_device
from train.scoring.evaluate import (
    CaseResult,
    evaluate_cases,
    evaluation_settings,
    scores_folder,
    split_cases,
    truth_settings,
)
from train.scoring.external import evaluate_label_maps
from train.scoring.label_mapping import LabelMapping, identity_mapping, read_label_mapping
from train.scoring.label_maps import LabelMapFiles, find_label_maps, flat_name, write_label_map

PREDICTIONS = "predictions"
_SHOWN = 5  # files or cases named in a remark


@dataclass(frozen=True)
class Evaluation:
    """Cases that are scored as they are asked for.

    Attributes:
        name: What is scored.
        manifest: The cases.
        folder: Where the scores go.
        settings: What the scores depend on.
        results: One for each case.
        remarks: What was noticed before.
        missing: Cases that will fail since nothing was predicted of them, as a remark says.
    """

    name: str
    manifest: Manifest
    folder: Path
    settings: Mapping[str, Any]
    results: Iterator[CaseResult]
    remarks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def evaluate_run(
    run: Path,
    manifest_path: Path,
    *,
    split: str,
    checkpoint: Which,
    device: str,
    overlap: float,
    tolerance_mm: float,
    out: Path | None = None,
) -> Evaluation:
    """Evaluate a run's network; what it predicts is kept beside the scores.

    Raises:
        MarginaliaError: The run or the manifest cannot be read, or they do not fit.
    """
    model, manifest = load_model(run, which=checkpoint), read_manifest(manifest_path)
    folder = out or scores_folder(run, split)
    how = {"split": split, "overlap": overlap, "tolerance_mm": tolerance_mm}
    settings = evaluation_settings(model, manifest, **how)
    results = evaluate_cases(model, manifest, device=pick_device(device), **how)
    kept = (_keep(result, folder) for result in results)
    return Evaluation(run.resolve().name, manifest, folder, settings, kept)


def evaluate_folder(
    predictions: Path,
    manifest_path: Path,
    *,
    split: str,
    labels: Path | None,
    tolerance_mm: float,
    jobs: int,
    out: Path | None = None,
) -> Evaluation:
    """Evaluate a folder of label maps.

    Raises:
        MarginaliaError: The folder, the manifest or the file of labels cannot be used.
    """
    manifest = read_manifest(manifest_path)
    space = manifest.label_space
    values = read_label_mapping(labels, space) if labels else identity_mapping(space)
    found = find_label_maps(predictions, split_cases(manifest, split), list(manifest.cases()))
    settings = {
        **truth_settings(manifest, split=split, tolerance_mm=tolerance_mm),
        "prediction": {
            "folder": str(predictions.resolve()),
            "values": {str(value): n for value, n in sorted(values.class_of.items())},
        },
    }
    results = evaluate_label_maps(found, manifest, values, tolerance_mm=tolerance_mm, jobs=jobs)
    said = (_said_of(values, space.names), _said_of_extra(found.extra), _said_of_missing(found))
    return Evaluation(
        name=predictions.resolve().name,
        manifest=manifest,
        folder=out or scores_folder(predictions, split),
        settings=settings,
        results=results,
        remarks=tuple(remark for remarks in said for remark in remarks),
        missing=found.missing,
    )


def with_manifest(settings: Mapping[str, Any], manifest_path: Path) -> dict[str, Any]:
    """Settings that also say where the manifest is."""
    return {**settings, "manifest": str(manifest_file(manifest_path).resolve())}


def _keep(result: CaseResult, folder: Path) -> CaseResult:
    if result.prediction is None:
        return result
    file = f"{PREDICTIONS}/{flat_name(result.case.case_id)}.nii.gz"
    write_label_map(folder / file, result.prediction, result.case)
    return replace(result, file=file)


def _said_of(values: LabelMapping, names: tuple[str, ...]) -> Iterator[str]:
    if values.ignored:
        yield f"counted as background, being no class here: {', '.join(values.ignored)}"
    if unknown := [names[n] for n in range(1, len(names)) if n not in values.known]:
        yield f"not scored, since no value means them: {', '.join(unknown)}"


def _said_of_extra(extra: tuple[Path, ...]) -> Iterator[str]:
    if extra:
        yield f"{len(extra)} label maps of no case of the manifest: {_first_few(extra)}"


def _said_of_missing(found: LabelMapFiles) -> Iterator[str]:
    if found.missing:
        first = found.missing[0]
        wanted = len(found.files) + len(found.problems)
        yield (
            f"{len(found.missing)} of {wanted} cases have no label map, and fail: "
            f"{_first_few(found.missing)}; of {first}: {found.problems[first]}"
        )


def _first_few(items: Sequence[object]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(map(str, items[:_SHOWN])) + more
