"""A planned run: one training with one seed, its settings, its manifests and its place."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from manifests.ground.errors import MarginaliaError, TrainingError
from manifests.table.case import Case
from manifests.table.manifest import Manifest, write_manifest
from train.experiments.plans.availability import apply_edits, training_edits
from train.experiments.plans.budget import Budget, with_budget
from train.experiments.plans.catalogue import Catalogue, Edit, Training
from train.experiments.plans.modified_manifests import (
    manifest_name,
    modified_manifest,
    selected_on_test,
)
from train.planning.plan import TrainingPlan, plan_training
from train.settings import EXECUTION_SETTINGS, PRESETS, TrainSettings, resolve

RUNS, TEST = "runs", "test"
_KEY_LETTERS = 12
_NOT_IN_KEY = EXECUTION_SETTINGS | {"seed"}

SelectOn = Literal["validation", "test"]


@dataclass(frozen=True)
class RunRequest:
    """What all runs of one call have in common.

    Attributes:
        out: Folder of all runs and tables.
        overrides: As `marginalia train --set` takes them; a training's own come after.
        seeds: One run of each training for each.
        budget: How long a training on some of the datasets is.
        select_on: The split whose cases choose the best checkpoint.
    """

    catalogue: Catalogue
    manifest: Manifest
    manifest_path: Path
    out: Path
    preset: str = "default"
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    budget: Budget = "patches"
    select_on: SelectOn = "validation"


@dataclass(frozen=True)
class ManifestFile:
    """A manifest and its file, which need not be written yet unless it is the user's own."""

    manifest: Manifest
    path: Path

    def write_if_missing(self) -> None:
        """Write the file if it is not there yet."""
        if not self.path.exists():
            write_manifest(self.manifest, self.path)


@dataclass(frozen=True)
class PreparedRun:
    """What is needed to do a run.

    Attributes:
        settings: As `train` takes them.
        changed: Those that differ from the preset, beside the seed.
        plan: What the training will use.
        trained_on: The cases, labelled as far as the training is told.
        tested_on: The same cases with all that is known of them.
        edits: What makes the first of the second, beside the choice of validation cases.
    """

    settings: TrainSettings
    changed: Mapping[str, Any]
    plan: TrainingPlan
    trained_on: ManifestFile
    tested_on: ManifestFile
    edits: tuple[Edit, ...]


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One training of the catalogue with one seed, or the problem why it cannot be planned.

    Runs of equal settings and cases have one folder, whatever they are called.
    """

    training: str
    seed: int
    folder: Path = Path()
    prepared: PreparedRun | None = None
    problem: str = ""

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.training}, seed {self.seed}"


def plan_runs(request: RunRequest, names: Iterable[str]) -> list[PlannedRun]:
    """Plan trainings, each with every seed; one that cannot be planned says why.

    The first seed of all of them comes before the second, so that a table is soon there in part.
    Of trainings that come to the same, the first does it for all.

    Raises:
        TrainingError: The settings name a seed.
    """
    if any(override.startswith("seed=") for override in request.overrides):
        msg = "--set seed=... has no effect here: name the seeds with --seeds, as in --seeds 0 1 2"
        raise TrainingError(msg)
    planned = [_plan(request, name) for name in names]
    return [_with_seed(run, seed) for seed in request.seeds for run in planned]


def run_key(preset: str, changed: Mapping[str, Any], manifest_sha256: str) -> str:
    """Return a few letters that are equal for equal trainings.

    Only what differs from the preset counts, so that a setting that is added some day, and is left
    as it is, does not make finished runs strangers. Where and how fast a run is computed does not
    count, nor does its seed.
    """
    counted = {k: v for k, v in sorted(changed.items()) if k not in _NOT_IN_KEY}
    text = json.dumps([preset, counted, manifest_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LETTERS]


def _plan(request: RunRequest, name: str) -> PlannedRun:
    try:
        prepared = _prepare(request, request.catalogue.trainings[name])
    except MarginaliaError as error:
        return PlannedRun(name, request.seeds[0], problem=str(error))
    key = run_key(request.preset, prepared.changed, prepared.plan.manifest_sha256)
    return PlannedRun(name, request.seeds[0], request.out / RUNS / key, prepared)


def _prepare(request: RunRequest, training: Training) -> PreparedRun:
    catalogue = request.catalogue
    tested = modified_manifest(request.manifest, training, catalogue)
    datasets = catalogue.dataset_names(training.datasets)
    edits = training_edits(tested, training, datasets)
    told = apply_edits(tested, edits)
    if request.select_on == "test":
        told = selected_on_test(told)
    settings = resolve(request.preset, [*request.overrides, *_overrides(training, datasets)])
    union = _learnt_from(tested)
    settings = with_budget(settings, _learnt_from(told, datasets), union, request.budget)
    return PreparedRun(
        settings=settings,
        changed=_changed(settings, request.preset),
        plan=plan_training(told, settings),
        trained_on=_placed(told, request),
        tested_on=_placed(tested, request),
        edits=edits,
    )


def _placed(manifest: Manifest, request: RunRequest) -> ManifestFile:
    if manifest.table.equals(request.manifest.table):
        return ManifestFile(manifest, request.manifest_path)
    # a manifest can only name cases that lie beneath it
    return ManifestFile(manifest, manifest.folder / manifest_name(manifest))


def _with_seed(run: PlannedRun, seed: int) -> PlannedRun:
    if run.prepared is None:
        return replace(run, seed=seed)
    settings = run.prepared.settings.model_copy(update={"seed": seed})
    prepared = replace(run.prepared, settings=settings)
    return replace(run, seed=seed, folder=run.folder / f"seed-{seed}", prepared=prepared)


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
