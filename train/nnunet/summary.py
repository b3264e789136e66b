"""nnU-Net's `summary.json`, of what each validation case annotates and nothing else."""

import multiprocessing
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock  # pyright: ignore[reportMissingImports]
import numpy as np
from nnunetv2.evaluation.evaluate_predictions import (  # pyright: ignore[reportMissingImports]
    compute_metrics,
    save_summary_json,
)
from nnunetv2.utilities.json_export import (  # pyright: ignore[reportMissingImports]
    recursive_fix_for_json_export,
)

from train.nnunet.annotations import Group, Merged, annotated_groups

NAME = "compute_metrics_on_folder"

Label = int | Group  # as nnU-Net names what it scores: a class id, or several as a region
Metrics = dict[str, float]


@contextmanager
def annotated_summary(merged: Mapping[str, Merged]) -> Generator[None]:
    """Let nnU-Net's final validation score only what is annotated, within the block.

    Its trainer calls the function by a name of its module; there is no hook.
    """
    theirs = getattr(stock, NAME)
    setattr(stock, NAME, partial(annotated_metrics, merged=merged))
    try:
        yield
    finally:
        setattr(stock, NAME, theirs)


def annotated_metrics(*arguments: Any, merged: Mapping[str, Merged], **options: Any) -> Any:  # noqa: ANN401
    """Score each validation case on the groups that it tells apart.

    Args:
        arguments: Those of nnU-Net's `compute_metrics_on_folder`.
        merged: Of each case, by its name.
        options: Its options; only the number of processes matters.

    Returns:
        What nnU-Net's function returns; a group of several classes is a region.
    """
    truth, predictions, out, reader, ending, labels, ignore = arguments
    files = sorted(p.name for p in Path(predictions).iterdir() if p.name.endswith(ending))
    jobs = [
        (
            str(Path(truth) / file),
            str(Path(predictions) / file),
            reader,
            scored_labels(merged[file.removesuffix(ending)]),
            ignore,
        )
        for file in files
    ]
    with multiprocessing.get_context("spawn").Pool(options.get("num_processes", 1)) as pool:
        cases = pool.starmap(compute_metrics, jobs)
    return _summarise(cases, [int(label) for label in labels], out)  # NumPy's integers


def scored_labels(merged: Merged) -> list[Label]:
    """Return the foreground groups that a case tells apart, in nnU-Net's words."""
    return [group[0] if len(group) == 1 else group for group in annotated_groups(merged)]


def _summarise(cases: list[dict[str, Any]], labels: list[Label], out: str | None) -> dict[str, Any]:
    everywhere = [*labels, *sorted({k for c in cases for k in c["metrics"] if k not in labels})]
    means: dict[Label, Metrics] = {}
    for label in everywhere:
        found = [case["metrics"][label] for case in cases if label in case["metrics"]]
        names = found[0] if found else ("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref")
        means[label] = {name: _mean([m[name] for m in found]) for name in names}
    names = next(iter(means.values()))
    overall = {name: _mean([mean[name] for mean in means.values()]) for name in names}
    summary = {"metric_per_case": cases, "mean": means, "foreground_mean": overall}
    for part in (*cases, means, overall):
        recursive_fix_for_json_export(part)
    if out is not None:
        save_summary_json(summary, out)
    return summary


def _mean(values: Sequence[Any]) -> float:
    """Return the mean without NaN, which a structure has that is neither there nor predicted."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
