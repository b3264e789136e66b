"""Plan: what a training uses of a manifest, decided before any voxel is read."""

import gc
import hashlib
import json
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes, is_full
from manifests.ground.errors import TrainingError
from manifests.ground.near_names import did_you_mean
from manifests.table.case import Case
from manifests.table.dataset_facts import facts_of
from manifests.table.manifest import Manifest
from manifests.volumes.resampling.separable import Interpolation
from train.boxes import PatchGrid, triple
from train.learnt import NOT_KEPT, Learnt, keeps_fingerprints
from train.methods.table import METHODS
from train.model import Normalisation
from train.networks.network import NetworkSettings
from train.planning.completed import learnt_of
from train.planning.licences import allowed_cases, left_out_remarks
from train.planning.patch import with_fitted_patch
from train.planning.patients import parted_remarks
from train.planning.schedule import Stage
from train.settings import TrainSettings

_LEAST_STD_HU = 1.0  # voxels are integer Hounsfield units
_NAMED = 3  # spacings in a message


@dataclass(frozen=True)
class TrainingPlan:
    """What a training uses.

    Attributes:
        validation: Cases that choose the best checkpoint.
        spacing_mm: Spacing along x, y, z of all cases.
        remarks: Notes for the user.
        interpolation: How `prepare` resampled the images, and prediction has to.
        learnt: What the checkpoints say of the cases, and of those of earlier weights.
    """

    settings: TrainSettings
    label_space: LabelSpace
    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    spacing_mm: tuple[float, float, float]
    normalisation: Normalisation
    remarks: tuple[str, ...]
    interpolation: Interpolation = "linear"
    learnt: Learnt = field(default_factory=Learnt)

    @property
    def network(self) -> NetworkSettings:
        """Return the settings of the network."""
        return NetworkSettings.of(self.settings, self.spacing_mm)

    @property
    def patch_grid(self) -> PatchGrid:
        """Return the voxels of a patch."""
        return PatchGrid(self.settings.patch_size_zyx, triple(reversed(self.spacing_mm)))

    @property
    def manifest_sha256(self) -> str:
        """Return a digest of what decides the result: equal for equal cases at any path."""
        rows = [
            (c.case_id, c.dataset, part, c.merged, c.image_sha256, c.label_sha256)
            for part, cases in (("train", self.training), ("validation", self.validation))
            for c in cases
        ]
        rows += [  # an older run, and one without such labels, have the digest that they had
            (c.case_id, c.completed_merged, c.completed_sha256)
            for c in self.training
            if c.completed and self.settings.completed_weight
        ]
        text = json.dumps([self.label_space.model_dump(), rows], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cases(self, stage: Stage) -> tuple[Case, ...]:
        """Return the cases of a stage: the fully labelled ones, then all (section 4.4)."""
        return self.training if stage == 2 else tuple(c for c in self.training if is_full(c.merged))

    def steps(self, stage: Stage) -> int:
        """Return the batches in an epoch of a stage, with as many patches from each dataset."""
        datasets = {c.dataset for c in self.cases(stage)}
        return math.ceil(
            len(datasets) * self.settings.patches_per_dataset / self.settings.batch_size
        )


@contextmanager
def _uncollected() -> Generator[None]:
    """Look for no garbage while a plan is made: of a million cases that took half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_uncollected()
def plan_training(manifest: Manifest, settings: TrainSettings) -> TrainingPlan:
    """Choose the cases, and compute what the network needs to know of them.

    Raises:
        TrainingError: There is no case to train on or none that is fully labelled for the first
            stage, a dataset has no labelled voxel, the manifest lacks a dataset or was resampled in
            an unknown way, or the cases have several spacings or do not suit the method.
    """
    of_datasets, facts = _of_datasets(manifest, settings.datasets), facts_of(manifest.settings)
    chosen = allowed_cases(of_datasets, facts, settings.licence)
    space = manifest.label_space
    left_out = left_out_remarks(of_datasets, chosen, space, settings.licence)
    if not chosen:
        msg = f"no case is left to train on: {'; '.join(left_out)}; allow more with --licence"
        raise TrainingError(msg)
    part_of = _parts(chosen, settings.fold)
    training = tuple(c for c in chosen if part_of[c.case_id] == "train" and any(c.merged))
    validation = tuple(
        c for c in chosen if part_of[c.case_id] == "validation" and annotated_classes(c.merged)
    )
    _require_cases(training, chosen, settings)
    _require_foreground(training, settings)
    METHODS[settings.method].check(settings, training)
    spacing_mm = _one_spacing((*training, *validation))
    remarks = _remarks(space, training, validation, chosen=chosen, balance=settings.balance)
    if not keeps_fingerprints(manifest):
        remarks = (*remarks, NOT_KEPT)
    remarks = (*remarks, *parted_remarks(chosen, part_of))
    learnt, completed = learnt_of(manifest, settings, training, validation)
    return TrainingPlan(
        settings=with_fitted_patch(settings, training, spacing_mm, len(space)),
        label_space=space,
        training=training,
        validation=validation,
        spacing_mm=spacing_mm,
        normalisation=normalisation_of(training),
        remarks=(*left_out, *remarks, *completed),
        interpolation=_interpolation(manifest),
        learnt=learnt,
    )


def normalisation_of(cases: Sequence[Case]) -> Normalisation:
    """Return the intensity scale of labelled voxels, with the same weight for each case.

    It clips at the mean 0.5th and 99.5th percentile; the deviation is that of all cases pooled.

    Raises:
        TrainingError: No case has a labelled voxel.

    Source: nnU-Net's CT normalisation.
    """
    rows = np.array(
        [
            (c.foreground_hu_low, c.foreground_hu_high, c.foreground_hu_mean, c.foreground_hu_std)
            for c in cases
        ]
    )
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        msg = (
            f"none of {len(cases)} training cases has intensities of labelled voxels in the "
            f"manifest (foreground_hu_*); prepare them again"
        )
        raise TrainingError(msg)
    low, high, mean, _ = rows.mean(axis=0).tolist()
    std = math.sqrt(float((rows[:, 3] ** 2).mean() + rows[:, 2].var()))
    return Normalisation(low, high, mean, max(std, _LEAST_STD_HU))


def annotated_counts(cases: Sequence[Case], space: LabelSpace) -> dict[str, int]:
    """Return the number of cases that annotate each foreground class, by its name."""
    found = [n for c in cases for n in annotated_classes(c.merged)]
    return {name: found.count(n) for n, name in enumerate(space.names) if n > 0}


def _of_datasets(manifest: Manifest, datasets: Sequence[str]) -> list[Case]:
    cases = list(manifest.cases())
    known = {c.dataset for c in cases}
    if unknown := sorted(set(datasets) - known):
        near = did_you_mean(unknown[0], known)
        msg = (
            f"datasets names {', '.join(unknown)}, which the manifest in {manifest.folder} does "
            f"not hold{near}: expected some of {', '.join(sorted(known))}"
        )
        raise TrainingError(msg)
    return [c for c in cases if c.dataset in (datasets or known)]


def _parts(cases: Sequence[Case], fold: int | None) -> dict[str, str | None]:
    """Return what each case is for: its split, or by its fold if one is to be validated on."""
    if fold is None:
        return {c.case_id: c.split for c in cases}
    folds = sorted({c.fold for c in cases if c.fold is not None})
    if fold not in folds:
        msg = (
            f"fold {fold} is asked for: expected one of the manifest's folds, got "
            f"{', '.join(map(str, folds)) or 'none'}; deal them with `marginalia split --folds 5`"
        )
        raise TrainingError(msg)
    parts = {None: None, fold: "validation"}
    return {c.case_id: parts.get(c.fold, "train") for c in cases}


def _require_cases(
    training: Sequence[Case], chosen: Sequence[Case], settings: TrainSettings
) -> None:
    if not training:
        splits = [c.split or "unassigned" for c in chosen]
        counts = ", ".join(f"{splits.count(s)} {s}" for s in sorted(set(splits))) or "none"
        msg = (
            f"no labelled case to train on: expected cases of the split train, got {counts}; "
            f"assign them with `marginalia split`"
        )
        raise TrainingError(msg)
    first, second = settings.stage_epochs
    none_full = not any(is_full(c.merged) for c in training)
    if none_full and not settings.marginal_weight and settings.method == "marginal":
        msg = (
            f"marginal_weight is 0 and none of {len(training)} training cases is fully labelled: "
            f"exclusion alone teaches no class; give the marginal losses a weight"
        )
        raise TrainingError(msg)
    if first and none_full:
        msg = (
            f"the first stage has {first} epochs, but none of {len(training)} training cases is "
            f"fully labelled; leave the stage out with --set stage_epochs=0,{first + second}"
        )
        raise TrainingError(msg)
    if settings.balance == "class" and not any(annotated_classes(c.merged) for c in training):
        msg = (
            f"balance is class, but none of {len(training)} training cases tells a class from all "
            f"others, so that there is no class to draw patches for; use --set balance=dataset"
        )
        raise TrainingError(msg)


def _require_foreground(training: Sequence[Case], settings: TrainSettings) -> None:
    """Refuse a dataset of which, in a stage, no batch could have foreground."""
    full = [c for c in training if is_full(c.merged)]
    for epochs, kind, cases in zip(
        settings.stage_epochs, ("fully labelled ", ""), (full, training), strict=True
    ):
        labelled = {c.dataset for c in cases if _has_foreground(c)}
        empty = sorted({c.dataset for c in cases} - labelled)
        if epochs and empty:
            rest = ",".join(sorted({c.dataset for c in training} - set(empty)))
            msg = (
                f"{', '.join(empty)}: expected a labelled voxel in the {kind}training cases, got "
                f"none, so that no batch of the dataset could have foreground; "
                f"{f'leave out with --set datasets={rest}' if rest else 'add cases with labels'}"
            )
            raise TrainingError(msg)


def _has_foreground(case: Case) -> bool:
    return any(n > 0 and merged > 0 for n, merged in zip(case.voxels, case.merged, strict=False))


def _one_spacing(cases: Sequence[Case]) -> tuple[float, float, float]:
    spacings = sorted({c.spacing_mm for c in cases})
    more = f" and {len(spacings) - _NAMED} more" if len(spacings) > _NAMED else ""
    if len(spacings) > 1 or len(spacings[0]) != 3:
        msg = (
            f"expected cases of one spacing, got {spacings[:_NAMED]}{more} mm; prepare the "
            f"datasets with the same spacing, not with --spacing native"
        )
        raise TrainingError(msg)
    return triple(spacings[0])


def _interpolation(manifest: Manifest) -> Interpolation:
    prepared = manifest.settings.get("prepare")
    found = prepared.get("interpolation", "linear") if isinstance(prepared, dict) else "linear"
    for known in get_args(Interpolation):
        if found == known:
            return known
    msg = (
        f"the manifest in {manifest.folder} says that its images were resampled by {found!r} "
        f"(settings.prepare.interpolation): expected one of {', '.join(get_args(Interpolation))}; "
        f"prepare them again"
    )
    raise TrainingError(msg)


def _remarks(
    space: LabelSpace,
    training: Sequence[Case],
    validation: Sequence[Case],
    *,
    chosen: Sequence[Case],
    balance: str,
) -> tuple[str, ...]:
    counts = annotated_counts(training, space)
    telling = {c.dataset for c in training if annotated_classes(c.merged)}
    merging = sorted({c.dataset for c in training} - telling) if balance == "class" else []
    never = [name for name, count in counts.items() if not count]
    empty = [c.case_id for c in chosen if c.split == "train" and not any(c.merged)]
    remarks = {
        f"no training case annotates {', '.join(never)}: the network will not learn it": never,
        f"{len(empty)} training cases distinguish no class and are set aside: {empty[:3]}": empty,
        f"balance is class, so that no patch is drawn from {', '.join(merging)}, whose training "
        f"cases merge each class with another": merging,
        "no validation cases: the best checkpoint is the last": not validation,
    }
    return tuple(words for words, holds in remarks.items() if holds)
