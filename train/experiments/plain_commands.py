"""Plain commands: what a planned run is as lines for a shell or a scheduler."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.experiments.planned_run import PlannedRun, PreparedRun, Request
from train.experiments.runner import TEST, write_cases

SLURM_HEAD = """\
#!/bin/bash
#SBATCH --job-name=marginalia
#SBATCH --array=0-{last}
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A_%a.log
# Afterwards, and at any time for what is done by then:
#   {again}
cd {folder}
commands=(
"""
# exit code 75: a signal came, the run was saved, and the same command goes on with it
SLURM_TAIL = """\
)
bash -c "exec ${commands[$SLURM_ARRAY_TASK_ID]}" &
child=$!
trap 'kill -USR1 "$child"' USR1
wait "$child"; wait "$child"; code=$?
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""
_CHOOSING = frozenset({"--slurm", "--only", "--seeds", "--dask", "--dry-run"})


def run_commands(run: PlannedRun, request: Request) -> list[str]:
    """The commands of one run: edit the manifest if need be, train, evaluate.

    A manifest in which datasets or splits are other ones has no command: `write_manifests` makes
    it.
    """
    prepared = run.prepared
    if prepared is None:
        return []
    edited = prepared.told.path != prepared.tested.path and request.select_on != TEST
    edits = _edits(prepared) if edited else []
    train = _words(
        ["marginalia", "train", prepared.told.path, "--out", run.folder],
        ["--preset", request.preset],
        *(["--set", word] for word in _set(prepared.changed, run.seed)),
    )
    evaluate = _words(["marginalia", "evaluate", run.folder, prepared.tested.path])
    return [*edits, train, evaluate]


def write_manifests(runs: Sequence[PlannedRun]) -> None:
    """Write the manifests that runs need and that are not there yet."""
    for run in runs:
        if run.prepared:
            write_cases(run.prepared.told)
            write_cases(run.prepared.tested)


def slurm_script(runs: Sequence[PlannedRun], again: Sequence[str]) -> str:
    """A SLURM array of all runs that can be planned, one task each.

    Args:
        runs: Planned runs.
        again: The command that the runs come from; a task does one of its runs.
    """
    planned = [run for run in runs if run.prepared]
    lines = [f"  {shlex.quote(shlex.join([*again, *_only(run)]))}\n" for run in planned]
    head = SLURM_HEAD.format(
        last=len(planned) - 1, again=shlex.join(again), folder=shlex.quote(str(Path.cwd()))
    )
    return head + "".join(lines) + SLURM_TAIL


def same_command(arguments: Sequence[str]) -> list[str]:
    """The command that is running, without what chooses runs or says where they are done."""
    kept: list[str] = ["marginalia"]
    option = ""
    for word in arguments:
        option = word.partition("=")[0] if word.startswith("--") else option
        if option not in _CHOOSING:
            kept.append(word)
    return kept


def _only(run: PlannedRun) -> list[str]:
    return ["--only", run.training, "--seeds", str(run.seed)]


def _edits(prepared: PreparedRun) -> Iterator[str]:
    source = prepared.tested.path
    for edit in prepared.edits:
        yield _words(
            ["marginalia", "edit", source, "--out", prepared.told.path],
            *(["--drop", name] for name in edit.drop),
            *(["--merge", ",".join(group)] for group in edit.merge),
            ["--where", edit.where] if edit.where else [],
        )
        source = prepared.told.path


def _set(changed: Mapping[str, Any], seed: int) -> Iterator[str]:
    for key, value in changed.items():
        yield f"{key}={value if isinstance(value, str) else json.dumps(value)}"
    yield f"seed={seed}"


def _words(*parts: Sequence[object]) -> str:
    return shlex.join(str(word) for part in parts for word in part)
