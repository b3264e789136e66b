"""A planned run: one training with one seed, its settings, its manifest and its place."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.case import Case
from manifests.errors import MarginaliaError
from manifests.manifest import Manifest
from train.experiments.availability import Edit, apply_edits, keep_only
from train.experiments.budget import Budget, with_budget
from train.experiments.catalogue import Catalogue, Training
from train.plan import TrainingPlan, plan_training
from train.settings import PRESETS, WHERE, TrainSettings, resolve

RUNS = "runs"
_KEY_LETTERS = 12
_NOT_IN_KEY = WHERE | {"seed"}


@dataclass(frozen=True)
class Request:
    """What all runs of one call have in common.

    Attributes:
        catalogue: The experiments.
        manifest: The cases, as they are.
        manifest_path: Its file.
        out: Folder of all runs and tables.
        preset: Of the settings.
        overrides: As `marginalia train --set` takes them; a training's own come after.
        seeds: One run of each training for each.
        budget: How long a training on some of the datasets is.
    """

    catalogue: Catalogue
    manifest: Manifest
    manifest_path: Path
    out: Path
    preset: str = "default"
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    budget: Budget = "patches"


@dataclass(frozen=True)
class PlannedRun:
    """One training with one seed.

    Attributes:
        training: Its name in the catalogue.
        seed: Of its weights, patches and augmentation.
        edits: What it is not told of the cases.
        folder: Where it goes; equal for equal settings and cases, whatever they are called.
        settings: As `train` takes them; none if it cannot be planned.
        plan: What it will use, likewise.
        changed: Settings in which it differs from the preset, beside the seed.
        manifest: The cases as it is told of them.
        problem: Why it cannot be planned.
    """

    training: str
    seed: int
    edits: tuple[Edit, ...] = ()
    folder: Path = Path()
    settings: TrainSettings | None = None
    plan: TrainingPlan | None = None
    changed: tuple[tuple[str, Any], ...] = ()
    manifest: Manifest | None = None
    problem: str = ""


def plan_runs(request: Request, names: Iterable[str]) -> list[PlannedRun]:
    """Plan trainings, each with every seed; one that cannot be planned says why.

    The first seed of all of them comes before the second, so that a table is soon there in part.
    """
    planned = [_plan(request, name) for name in names]
    return [run for seed in request.seeds for run in _with_seed(planned, seed)]


def run_key(preset: str, changed: Mapping[str, Any], manifest_sha256: str) -> str:
    """A few letters that are equal for equal trainings.

    Only what differs from the preset counts, so that a setting that is added some day, and is left
    as it is, does not make finished runs strangers. Where and how fast a run is computed does not
    count, nor does its seed.
    """
    counted = {k: v for k, v in sorted(changed.items()) if k not in _NOT_IN_KEY}
    text = json.dumps([preset, counted, manifest_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LETTERS]


def _plan(request: Request, name: str) -> PlannedRun:
    try:
        return _planned(request, name)
    except MarginaliaError as error:
        return PlannedRun(name, request.seeds[0], problem=str(error))


def _planned(request: Request, name: str) -> PlannedRun:
    training = request.catalogue.trainings[name]
    datasets = request.catalogue.dataset_names(training.datasets)
    edits = keep_only(request.manifest, training.keep, datasets) if training.keep else ()
    manifest = apply_edits(request.manifest, edits)
    settings = resolve(request.preset, [*request.overrides, *_overrides(training, datasets)])
    learnt = _learnt_from(manifest, datasets)
    settings = with_budget(settings, learnt, _learnt_from(request.manifest), request.budget)
    plan = plan_training(manifest, settings)
    changed = _changed(settings, request.preset)
    key = run_key(request.preset, changed, plan.manifest_sha256)
    return PlannedRun(
        training=name,
        seed=request.seeds[0],
        edits=edits,
        folder=request.out / RUNS / key,
        settings=settings,
        plan=plan,
        changed=tuple(changed.items()),
        manifest=manifest,
    )


def _with_seed(planned: Sequence[PlannedRun], seed: int) -> Iterator[PlannedRun]:
    for run in planned:
        if run.settings is None:
            yield replace(run, seed=seed)
            continue
        yield replace(
            run,
            seed=seed,
            folder=run.folder / f"seed-{seed}",
            settings=run.settings.model_copy(update={"seed": seed}),
        )


def _overrides(training: Training, datasets: Sequence[str]) -> Iterator[str]:
    if datasets:
        yield f"datasets={json.dumps(list(datasets))}"
    for key, value in training.set.items():
        yield f"{key}={json.dumps(value)}"


def _learnt_from(manifest: Manifest, datasets: Sequence[str] = ()) -> list[Case]:
    return [
        c
        for c in manifest.cases()
        if c.split == "train" and any(c.merged) and c.dataset in (datasets or (c.dataset,))
    ]


def _changed(settings: TrainSettings, preset: str) -> dict[str, Any]:
    """Settings that differ from the preset's, as plain values."""
    usual = PRESETS[preset].model_dump(mode="json")
    chosen = settings.model_dump(mode="json")
    return {key: value for key, value in chosen.items() if value != usual[key]}
