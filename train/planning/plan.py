"""Plan: what a training uses of a manifest, decided before any voxel is read."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

import numpy as np

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.ground.errors import TrainingError
from manifests.ground.near_names import did_you_mean
from manifests.table.case import Case
from manifests.table.case_rows import CaseRows, Coded
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
from train.planning.requirements import (
    fully_labelled,
    one_spacing,
    require_cases,
    require_foreground,
)
from train.planning.schedule import Stage
from train.settings import TrainSettings

_LEAST_STD_HU = 1.0  # voxels are integer Hounsfield units


@dataclass(frozen=True)
class TrainingPlan:
    """What a training uses.

    Attributes:
        validation: Cases that choose the best checkpoint.
        spacing_mm: Spacing along x, y, z of all cases.
        remarks: Notes for the user.
        interpolation: How `prepare` resampled the images, and prediction has to.
        earlier: What the weights that it begins with had learnt from.
    """

    settings: TrainSettings
    label_space: LabelSpace
    training: CaseRows
    validation: CaseRows
    spacing_mm: tuple[float, float, float]
    normalisation: Normalisation
    remarks: tuple[str, ...]
    interpolation: Interpolation = "linear"
    earlier: Learnt = field(default_factory=Learnt)

    @cached_property
    def learnt(self) -> Learnt:
        """Return what the checkpoints say of the cases, and of those of earlier weights."""
        own, _ = learnt_of(self.training.manifest, self.settings, self.training, self.validation)
        return own.after(self.earlier) if self.earlier.cases else own

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

    def cases(self, stage: Stage) -> CaseRows:
        """Return the cases of a stage: the fully labelled ones, then all (section 4.4)."""
        return self.training if stage == 2 else fully_labelled(self.training)

    def steps(self, stage: Stage) -> int:
        """Return the batches in an epoch of a stage, with as many patches from each dataset."""
        datasets = self.cases(stage).coded("dataset").present()
        return math.ceil(
            len(datasets) * self.settings.patches_per_dataset / self.settings.batch_size
        )


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
    parts, merged = _parts(chosen, settings.fold), chosen.coded("merged")
    training = chosen.where(parts.equal("train") & merged.where(any))
    validation = chosen.where(parts.equal("validation") & merged.where(annotated_classes))
    require_cases(training, chosen, settings)
    require_foreground(training, settings)
    METHODS[settings.method].check(settings, training)
    spacing_mm = one_spacing(training, validation)
    remarks = _remarks(space, training, validation, chosen=chosen, balance=settings.balance)
    if not keeps_fingerprints(manifest):
        remarks = (*remarks, NOT_KEPT)
    remarks = (*remarks, *parted_remarks(chosen, parts))
    if training.coded("completed").where(bool).any():
        remarks = (*remarks, *learnt_of(manifest, settings, training, validation)[1])
    return TrainingPlan(
        settings=with_fitted_patch(settings, training.numbers("size"), spacing_mm, len(space)),
        label_space=space,
        training=training,
        validation=validation,
        spacing_mm=spacing_mm,
        normalisation=normalisation_of(training),
        remarks=(*left_out, *remarks),
        interpolation=_interpolation(manifest),
    )


def normalisation_of(cases: Sequence[Case]) -> Normalisation:
    """Return the intensity scale of labelled voxels, with the same weight for each case.

    It clips at the mean 0.5th and 99.5th percentile; the deviation is that of all cases pooled.

    Raises:
        TrainingError: No case has a labelled voxel.

    Source: nnU-Net's CT normalisation.
    """
    names = [f"foreground_hu_{name}" for name in ("low", "high", "mean", "std")]
    if isinstance(cases, CaseRows):
        rows = np.stack([cases.numbers(name) for name in names], axis=-1)
    else:
        rows = np.array([[getattr(c, name) for name in names] for c in cases])
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


def annotated_counts(cases: CaseRows, space: LabelSpace) -> dict[str, int]:
    """Return the number of cases that annotate each foreground class, by its name."""
    merged = cases.coded("merged")
    counts = zip(merged.values, merged.counts().tolist(), strict=True)
    found = [(annotated_classes(value), count) for value, count in counts]
    return {
        name: sum(count for classes, count in found if n in classes)
        for n, name in enumerate(space.names)
        if n > 0
    }


def _of_datasets(manifest: Manifest, datasets: Sequence[str]) -> CaseRows:
    cases = CaseRows.of(manifest)
    known = set(cases.coded("dataset").values)
    if unknown := sorted(set(datasets) - known):
        near = did_you_mean(unknown[0], known)
        msg = (
            f"datasets names {', '.join(unknown)}, which the manifest in {manifest.folder} does "
            f"not hold{near}: expected some of {', '.join(sorted(known))}"
        )
        raise TrainingError(msg)
    return cases.where(cases.coded("dataset").where((datasets or known).__contains__))


def _parts(cases: CaseRows, fold: int | None) -> Coded:
    """Return what each case is for: its split, or by its fold if one is to be validated on."""
    if fold is None:
        return cases.coded("split")
    dealt = cases.coded("fold")
    folds = sorted(n for n in dealt.present() if n is not None)
    if fold not in folds:
        msg = (
            f"fold {fold} is asked for: expected one of the manifest's folds, got "
            f"{', '.join(map(str, folds)) or 'none'}; deal them with `marginalia split --folds 5`"
        )
        raise TrainingError(msg)
    parts = {None: None, fold: "validation"}
    return dealt.mapped(lambda n: parts.get(n, "train"))


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
    training: CaseRows,
    validation: CaseRows,
    *,
    chosen: CaseRows,
    balance: str,
) -> tuple[str, ...]:
    counts = annotated_counts(training, space)
    telling = training.where(training.coded("merged").where(annotated_classes))
    datasets = {*training.coded("dataset").present()}
    merging = sorted(datasets - {*telling.coded("dataset").present()}) if balance == "class" else []
    never = [name for name, count in counts.items() if not count]
    merged = chosen.coded("merged").where(any)
    empty = chosen.where(chosen.coded("split").equal("train") & ~merged)
    remarks = {
        f"no training case annotates {', '.join(never)}: the network will not learn it": never,
        f"{len(empty)} training cases distinguish no class and are set aside: "
        f"{[c.case_id for c in empty[:3]]}": len(empty) > 0,
        f"balance is class, so that no patch is drawn from {', '.join(merging)}, whose training "
        f"cases merge each class with another": merging,
        "no validation cases: the best checkpoint is the last": not validation,
    }
    return tuple(words for words, holds in remarks.items() if holds)
