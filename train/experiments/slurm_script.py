"""Planned runs as commands for a shell, and as a SLURM script."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.experiments.plans.planned_run import TEST, PlannedRun, PreparedRun, RunRequest

SLURM_HEAD = """\
#!/bin/bash
#SBATCH --job-name=marginalia
#SBATCH --array=0-{last}
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A_%a.log
# Afterwards, for the table:
#   {again}
cd {folder}
commands=(
"""
# exit code 75: a signal came, the run was saved, and the same command resumes it
SLURM_TAIL = """\
)
bash -c "exec ${commands[$SLURM_ARRAY_TASK_ID]}" &
child=$!
trap 'kill -USR1 "$child"' USR1
wait "$child"; wait "$child"; code=$?
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""


def run_commands(run: PlannedRun, request: RunRequest) -> list[str]:
    """Return the commands of one run: edit the manifest if need be, train, evaluate.

    No command changes datasets or splits: `write_manifests` writes such manifests.
    """
    prepared = run.prepared
    if prepared is None:
        return []
    edited = prepared.trained_on.path != prepared.tested_on.path and request.select_on != TEST
    edits = _edits(prepared) if edited else []
    train = _words(
        ["marginalia", "train", prepared.trained_on.path, "--out", run.folder],
        ["--preset", request.preset],
        *(["--set", word] for word in _set(prepared.changed, run.seed)),
    )
    evaluate = _words(["marginalia", "evaluate", run.folder, prepared.tested_on.path])
    return [*edits, train, evaluate]


def write_manifests(runs: Sequence[PlannedRun]) -> None:
    """Write the manifests that runs need and that are not there yet."""
    for run in runs:
        if run.prepared:
            run.prepared.trained_on.write_if_missing()
            run.prepared.tested_on.write_if_missing()


def slurm_script(runs: Sequence[PlannedRun], again: Sequence[str]) -> str:
    """Return a SLURM array of all runs that can be planned, at least one, with one task each.

    `again` is the command that the runs come from; a task does one of its runs.
    """
    planned = [run for run in runs if run.prepared]
    tasks = [[*again, "--only", run.training, *_seeds([run])] for run in planned]
    lines = [f"  {shlex.quote(shlex.join(task))}\n" for task in tasks]
    head = SLURM_HEAD.format(
        last=len(planned) - 1,
        again=shlex.join([*again, *_seeds(runs)]),
        folder=shlex.quote(str(Path.cwd())),
    )
    return head + "".join(lines) + SLURM_TAIL


def same_command(table: str, request: RunRequest, experiments: Path | None) -> list[str]:
    """Return the command of a request, without what chooses its runs or where they are done."""
    return [
        *("marginalia", "reproduce", table, str(request.manifest_path)),
        *("--out", str(request.out), "--preset", request.preset),
        *(word for override in request.overrides for word in ("--set", override)),
        *("--budget", request.budget, "--select-on", request.select_on),
        *(("--experiments", str(experiments)) if experiments else ()),
    ]


def _seeds(runs: Iterable[PlannedRun]) -> list[str]:
    return ["--seeds", *dict.fromkeys(str(run.seed) for run in runs)]


def _edits(prepared: PreparedRun) -> Iterator[str]:
    source = prepared.tested_on.path
    for edit in prepared.edits:
        yield _words(
            ["marginalia", "edit", source, "--out", prepared.trained_on.path],
            *(["--drop", name] for name in edit.drop),
            *(["--merge", ",".join(group)] for group in edit.merge),
            ["--where", edit.where] if edit.where else [],
        )
        source = prepared.trained_on.path


def _set(changed: Mapping[str, Any], seed: int) -> Iterator[str]:
    for key, value in changed.items():
        yield f"{key}={value if isinstance(value, str) else json.dumps(value)}"
    yield f"seed={seed}"


def _words(*parts: Sequence[object]) -> str:
    return shlex.join(str(word) for part in parts for word in part)
