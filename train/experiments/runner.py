"""The runner: trains and evaluates planned runs, each once, and goes on where it was stopped."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from manifests.ground.atomic import write_text
from manifests.ground.dask_cluster import connected
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.checkpoints.run_settings import SETTINGS
from train.experiments.plans.planned_run import TEST, PlannedRun, PreparedRun
from train.prediction.scan import reason_of
from train.scoring.evaluate import (
    EvaluationRequest,
    collect_scores,
    truth_settings,
)
from train.scoring.evaluation import evaluate_run
from train.scoring.scores import Scores, read_scores, scores_folder, write_scores
from train.settings import EXECUTION_SETTINGS, TrainSettings
from train.training.events import Event
from train.training.first_stage import find_first_stage
from train.training.log import read_log
from train.training.loop import train
from train.training.resume import new_header
from train.training.start import Start

ABOUT, LOCK = "run.json", ".lock"

OnEvent = Callable[[PlannedRun, Event], None]


@dataclass(frozen=True)
class RunResult:
    """What became of a run: its test scores, or why there are none.

    If a signal stopped it, the same call resumes it.
    """

    run: PlannedRun
    scores: Scores | None = None
    was_there: bool = False
    failure: str = ""
    preempted: bool = False


def run_all(
    runs: Iterable[PlannedRun], *, on_event: OnEvent = lambda _run, _event: None
) -> Iterator[RunResult]:
    """Do one run with each step; a run that fails does not end the others, a signal does.

    A run that another process is doing is left for the end, and then waited for.
    """
    left: list[PlannedRun] = []
    for wait, some in ((False, runs), (True, left)):
        for run in some:
            try:
                result = run_once(run, on_event=on_event, wait=wait)
            except Timeout:
                left.append(run)
                continue
            yield result
            if result.preempted:
                return


def run_spread(runs: Iterable[PlannedRun], workers: Executor) -> Iterator[RunResult]:
    """Do runs on an executor's workers, which must see the same folders; yields what is done."""
    futures = {workers.submit(run_once, run): run for run in runs}
    for future in as_completed(futures):
        # whatever befell a worker, the others go on
        try:
            yield future.result()
        except Exception as error:
            yield RunResult(futures[future], failure=f"its worker failed: {error}")


@contextmanager
def on_cluster(runs: Iterable[PlannedRun], address: str) -> Iterator[Iterator[RunResult]]:
    """Do runs on the workers of a Dask cluster, which see the same folders.

    Raises:
        ClusterError: Dask is not installed, or there is no cluster at the address.
    """
    with connected(address) as client:
        yield run_spread(runs, client.get_executor(pure=False))


def run_once(
    run: PlannedRun, *, on_event: OnEvent = lambda _run, _event: None, wait: bool = True
) -> RunResult:
    """Train and evaluate one run, as far as that has not been done.

    Raises:
        Timeout: Another process is doing it, and is not to be waited for.
    """
    if run.prepared is None:
        return RunResult(run, failure=run.problem)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(run.folder / LOCK, timeout=-1 if wait else 0):
            return _do(run, run.prepared, on_event)
    except Timeout:
        raise
    # whatever befell it, as want of memory, the others go on
    except Exception as error:
        return RunResult(run, failure=reason_of(error))


def kept_scores(run: PlannedRun) -> Scores | None:
    """Return the test scores of a run that is finished; none if it is not.

    Raises:
        TrainingError: It was trained with other settings: its preset has changed since then.
    """
    if run.prepared is None or not _trained(run.folder, run.prepared.settings):
        return None
    try:
        scores = read_scores(scores_folder(run.folder, TEST))
        was = json.loads((run.folder / SETTINGS).read_text(encoding="utf-8"))["settings"]
    except (TrainingError, OSError, ValueError, LookupError):
        return None
    expected = _truth(run.prepared.tested_on.manifest)
    found = {key: scores.settings.get(key) for key in expected}
    if found != expected:
        return None
    now = run.prepared.plan.settings.model_dump(mode="json")
    _require_same_settings(run.folder, _flat(was), _flat(now))
    return scores


def _trained(folder: Path, settings: TrainSettings) -> bool:
    """Whether both stages are done, the first of which may have been prolonged."""
    log = read_log(folder)
    in_second = sum(log["stage"] == 2) if len(log) else 0
    return len(log) >= settings.epochs and in_second >= settings.stage_epochs[1]


def _do(run: PlannedRun, prepared: PreparedRun, on_event: OnEvent) -> RunResult:
    if scores := kept_scores(run):
        return RunResult(run, scores, was_there=True)
    _write_about(run, prepared)
    told, settings = prepared.trained_on.manifest, prepared.settings
    start = Start(first_stage_of=_same_first_stage(run, prepared))
    result = train(
        told, run.folder, settings, start=start, on_event=lambda event: on_event(run, event)
    )
    if result.preempted:
        return RunResult(run, preempted=True)
    prepared.tested_on.write_if_missing()
    request = EvaluationRequest(split=TEST, device=settings.device)
    evaluation = evaluate_run(run.folder, prepared.tested_on.path, request)
    scores = collect_scores(evaluation.results, evaluation.settings)
    write_scores(scores, evaluation.folder)
    return RunResult(run, scores)


def _same_first_stage(run: PlannedRun, prepared: PreparedRun) -> Path | None:
    """Return another run that has the run's first stage already, to the bit; none if none has."""
    settings = prepared.plan.settings.model_copy(update={"seed": run.seed})
    plan = replace(prepared.plan, settings=settings)
    others = sorted(run.folder.parents[1].glob(f"*/{run.folder.name}"))
    return find_first_stage(others, new_header(plan, None), plan)


def _require_same_settings(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a run whose preset was another: the folder's name tells only what differs from it.

    Settings that only one of the two knows do not count: they came or went with a version.
    """
    counted = sorted((was.keys() & now.keys()) - EXECUTION_SETTINGS - {"seed"})
    if differences := [f"{k} was {was[k]}, is {now[k]}" for k in counted if was[k] != now[k]]:
        msg = (
            f"{folder} holds a run that was trained when its preset was another: "
            f"{'; '.join(differences)}; choose another --out, or the marginalia that trained it"
        )
        raise TrainingError(msg)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by key, as in `batch_size` and `augmentation.rotation`."""
    flat = dict(settings)
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{part}": v for part, v in flat.pop(key).items()}
    return flat


def _truth(manifest: Manifest) -> dict[str, Any]:
    # as it comes back from a file
    return json.loads(json.dumps(truth_settings(manifest, EvaluationRequest(split=TEST))))


def _write_about(run: PlannedRun, prepared: PreparedRun) -> None:
    """Say for people what the folder holds, whose name is a hash."""
    about = {
        "training": run.training,
        "seed": run.seed,
        "changed": dict(prepared.changed),
        "edits": [edit.model_dump() for edit in prepared.edits],
        "tested_on": str(prepared.tested_on.path),
    }
    write_text(run.folder / ABOUT, json.dumps(about, indent=2) + "\n")
