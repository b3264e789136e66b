"""Ensembles: several runs, or the folds of one, whose probabilities are averaged."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from manifests.ground.errors import CheckpointError
from train.checkpoints.checkpoint import FOLDER, SUFFIX, Which
from train.checkpoints.fold_folders import fold_folders
from train.checkpoints.package import ZIP, unpacked
from train.checkpoints.restoration import load_model
from train.model import Model


def load_ensemble(runs: Sequence[Path], *, which: Which = "best") -> Model:
    """Return the network of a run, or the ensemble of several; a cross-validation has its folds'.

    Raises:
        CheckpointError: A checkpoint cannot be used, or two networks do not fit each other.
    """
    paths: list[Path] = []
    models: list[Model] = []
    for run in runs:
        with _checkpoints(run) as files:
            models += [load_model(file, which=which) for file in files]
            paths += [run] * len(files)
    first, *others = models
    for path, model in zip(paths[1:], others, strict=True):
        if differing := _differences(first, model):
            msg = (
                f"{paths[0]} and {path} cannot be averaged: expected the same {differing}; predict "
                f"with each of them alone"
            )
            raise CheckpointError(msg)
    return replace(first, others=tuple(others))


def split_runs(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide paths into the runs that stand first, at least one, and what follows.

    Raises:
        CheckpointError: A run stands behind something else.
    """
    behind = [path for path in paths[1:] if path.suffix.lower() != ZIP and is_run(path)]
    if behind and not is_run(paths[0]):
        msg = (
            f"{paths[0]} is no run, and {behind[0]} behind it is one: give runs first, as in "
            f"{behind[0]} {paths[0]}"
        )
        raise CheckpointError(msg)
    count = next((n for n, path in enumerate(paths) if n and not is_run(path)), len(paths))
    return list(paths[:count]), list(paths[count:])


def is_run(path: Path) -> bool:
    """Return whether a path is that of a run, a cross-validation, a checkpoint or a package."""
    if path.is_dir():
        return (path / FOLDER).is_dir() or bool(fold_folders(path))
    return path.name.endswith(SUFFIX) or path.suffix.lower() == ZIP


def _checkpoints(run: Path) -> AbstractContextManager[list[Path]]:
    """Return what to load of a run; the files of a package are gone afterwards."""
    if run.suffix.lower() == ZIP and run.is_file():
        return unpacked(run)
    return nullcontext(fold_folders(run) or [run])


def _differences(one: Model, other: Model) -> str:
    """Return what must agree, and does not."""
    spaces = one.label_space, other.label_space
    checks = {
        "classes": (spaces[0].names, spaces[0].class_of) == (spaces[1].names, spaces[1].class_of),
        "spacing": np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3, atol=0),
        "interpolation": one.interpolation == other.interpolation,
        "mirrored axes": one.mirrored_axes == other.mirrored_axes,
    }
    return ", ".join(name for name, same in checks.items() if not same)
