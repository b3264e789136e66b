"""Costs: how long runs will take, from runs that are done, or from timing a batch."""

import math
from collections.abc import Hashable, Iterable, Mapping
from statistics import median

from train.experiments.plans.planned_run import PlannedRun, PreparedRun
from train.training.batch_time import timed_batch
from train.training.log import read_log

_TIMED: dict[tuple[Hashable, ...], float] = {}


def expected_seconds(runs: Iterable[PlannedRun]) -> dict[PlannedRun, float]:
    """Return the seconds that each run that can be planned has still to train.

    If a run of the list has trained for an epoch, its seconds per batch count, with all that is not
    the network; else the network alone is timed on a small patch.
    """
    planned = {run: run.prepared for run in runs if run.prepared}
    trained = {run: _trained(run) for run in planned}
    measured = [took / done for done, took in trained.values() if done]
    seconds: dict[PlannedRun, float] = {}
    for run, prepared in planned.items():
        per_batch = median(measured) if measured else _timed(prepared)
        seconds[run] = per_batch * max(batches(prepared) - trained[run][0], 0)
    return seconds


def batches(prepared: PreparedRun) -> int:
    """Return the number of batches of a whole training."""
    plan, epochs = prepared.plan, prepared.settings.stage_epochs
    first, second = (n * plan.steps(s) if n else 0 for s, n in zip((1, 2), epochs, strict=True))
    return first + second


def total(seconds: Mapping[PlannedRun, float]) -> float:
    """Return the seconds of all runs; those that share a folder count once."""
    return sum({run.folder: needed for run, needed in seconds.items()}.values())


def _trained(run: PlannedRun) -> tuple[int, float]:
    """Batches that a run has learnt from, and the seconds that they took, as far as it is known."""
    log = read_log(run.folder)
    seconds = log["seconds"].tolist() if len(log) else []
    if not seconds or math.isnan(sum(seconds)):
        return 0, 0.0
    return max(log["step"].tolist()), sum(seconds)


def _timed(prepared: PreparedRun) -> float:
    """Return the seconds of a batch; runs that differ in nothing that takes time share them."""
    plan = prepared.plan
    settings = plan.settings
    key = (
        *(plan.network, len(plan.label_space), settings.batch_size, settings.accumulation),
        *(settings.device, settings.precision),
    )
    if key not in _TIMED:
        _TIMED[key] = timed_batch(plan)[1]
    return _TIMED[key]
