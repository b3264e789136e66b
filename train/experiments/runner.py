"""The runner: trains and evaluates planned runs, each once, and goes on where it was stopped."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from manifests.atomic import write_text
from manifests.errors import MarginaliaError, TrainingError
from manifests.manifest import Manifest
from train.evaluate import gather, scores_folder, truth_settings
from train.evaluation import of_network, with_manifest
from train.events import Event
from train.experiments.planned_run import PlannedRun, Request
from train.log import read_log
from train.loop import train
from train.metrics import TOLERANCE_MM
from train.scan import reason_of
from train.scores import Scores, read_scores, write_scores
from train.sliding_window import OVERLAP

TEST = "test"
_ABOUT, _LOCK = "run.json", ".lock"

OnEvent = Callable[[PlannedRun, Event], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        scores: On the test split; none if it failed or was stopped.
        was_there: It had been done before.
        failure: Why it failed.
        preempted: A signal stopped it; the same call goes on.
    """

    run: PlannedRun
    scores: Scores | None = None
    was_there: bool = False
    failure: str = ""
    preempted: bool = False


def run_all(
    runs: Iterable[PlannedRun], request: Request, *, on_event: OnEvent = lambda _run, _event: None
) -> Iterator[Outcome]:
    """Do all runs one after the other; a run that fails does not end the others.

    A run that another process is doing is left for the end, and then waited for.

    Returns:
        An iterator that does one run with each step, and ends early if a signal stopped one.
    """
    left: list[PlannedRun] = []
    for run in runs:
        try:
            outcome = run_once(run, request, on_event=on_event, wait=False)
        except Timeout:
            left.append(run)
            continue
        yield outcome
        if outcome.preempted:
            return
    for run in left:
        outcome = run_once(run, request, on_event=on_event)
        yield outcome
        if outcome.preempted:
            return


def run_once(
    run: PlannedRun,
    request: Request,
    *,
    on_event: OnEvent = lambda _run, _event: None,
    wait: bool = True,
) -> Outcome:
    """Train and evaluate one run, as far as that has not been done.

    Raises:
        Timeout: Another process is doing it, and is not to be waited for.
    """
    if run.manifest is None or run.settings is None:
        return Outcome(run, failure=run.problem)
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / _LOCK, timeout=-1 if wait else 0):
        try:
            return _do(run, run.manifest, request, on_event)
        except (MarginaliaError, RuntimeError, OSError, ValueError, LookupError) as error:
            return Outcome(run, failure=reason_of(error))


def kept_scores(run: PlannedRun, manifest: Manifest) -> Scores | None:
    """The test scores of a run that is finished; none if it is not."""
    settings = run.settings
    if settings is None or len(read_log(run.folder)) < settings.epochs:
        return None
    try:
        scores = read_scores(scores_folder(run.folder, TEST))
    except TrainingError:
        return None
    expected = _truth(manifest)
    found = {key: scores.settings.get(key) for key in expected}
    return scores if found == expected else None


def _do(run: PlannedRun, manifest: Manifest, request: Request, on_event: OnEvent) -> Outcome:
    if scores := kept_scores(run, request.manifest):
        return Outcome(run, scores, was_there=True)
    assert run.settings is not None
    _write_about(run, request)
    result = train(manifest, run.folder, run.settings, on_event=lambda event: on_event(run, event))
    if result.preempted:
        return Outcome(run, preempted=True)
    evaluation = of_network(
        run.folder,
        request.manifest_path,
        split=TEST,
        checkpoint="best",
        device=run.settings.device,
        overlap=OVERLAP,
        tolerance_mm=TOLERANCE_MM,
    )
    settings = with_manifest(evaluation.settings, request.manifest_path)
    scores = gather(evaluation.results, settings)
    write_scores(scores, evaluation.folder)
    return Outcome(run, scores)


def _truth(manifest: Manifest) -> dict[str, Any]:
    # as it comes back from a file
    return json.loads(json.dumps(truth_settings(manifest, split=TEST, tolerance_mm=TOLERANCE_MM)))


def _write_about(run: PlannedRun, request: Request) -> None:
    """Say for people what the folder holds, whose name is a hash."""
    about = {
        "training": run.training,
        "seed": run.seed,
        "preset": request.preset,
        "changed": dict(run.changed),
        "edits": [vars(edit) for edit in run.edits],
        "manifest": str(request.manifest_path),
    }
    write_text(Path(run.folder) / _ABOUT, json.dumps(about, indent=2) + "\n")
