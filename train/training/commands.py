"""The command: train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from manifests.commands import ManifestPath
from manifests.ground.list_command import ListCommand
from train.console import PREEMPTED_EXIT_CODE, TIMING, console, say

if TYPE_CHECKING:
    from train.training.loop import TrainingResult

app = typer.Typer()

Preset = Annotated[str, typer.Option(help="tiny, default, paper or reference.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, of those that --settings lists."
    ),
]


def _list_settings(preset: str | None) -> None:
    """List all settings, or those of a preset, and exit."""
    if preset is not None:
        from train.planning.settings_view import settings_view

        console.print(settings_view(preset))
        raise typer.Exit


ListedPreset = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="[PRESET]",
        is_eager=True,
        callback=_list_settings,
        help="List all settings with their values in each preset, or in one, and exit.",
    ),
]


@app.command("train", cls=ListCommand)
def train_command(
    manifest: ManifestPath,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for checkpoints, logs and settings.")
    ],
    *,
    preset: Preset = "default",
    override: Overrides = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Number of processes on each machine, one per GPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, started by torchrun or SLURM.")] = 1,
    fold: Annotated[
        int | None,
        typer.Option(min=0, help="Validate on this fold of the manifest; train on the others."),
    ] = None,
    all_folds: Annotated[
        bool,
        typer.Option("--all-folds", help="Train on each fold in turn, into RUN/fold_0 and so on."),
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TERMS",
            help="Use only cases whose licence allows it: `commercial`, or a pattern as 'cc-by*'.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the weights of this run, also of other classes; or of nnU-Net's, as "
            "nnunet:FOLDER or nnunet:FOLDER:FOLD.",
        ),
    ] = None,
    first_stage_of: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on from the end of this run's first stage, which must be the same.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Resume a run even if the manifest has changed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
    _settings: ListedPreset = None,
) -> None:
    """Train a network; give the same command again to resume a stopped run.

    On SIGTERM or SIGUSR1 the run saves its state at the current batch and ends with exit code 75.
    On Ctrl-C it does the same with exit code 130; a second Ctrl-C ends it at once.
    """
    from manifests.table.manifest import manifest_file
    from train.planning.columns import read_cases
    from train.planning.plan import plan_training
    from train.planning.view import plan_facts, plan_tables
    from train.settings import resolve
    from train.training.batch_time import expected_time
    from train.training.cross_validation import fold_runs
    from train.training.loop import train
    from train.training.processes import Processes, is_rank_zero
    from train.training.progress import show_progress
    from train.training.start import Start

    given = {"fold": fold, "licence": licence}
    words = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = resolve(preset, [*(override or []), *words])
    cases = read_cases(manifest)
    processes = Processes(devices, nodes)
    runs = fold_runs(cases, out, settings, processes) if all_folds else {out: settings}
    plan = plan_training(cases, next(iter(runs.values())))
    if is_rank_zero():
        for table in plan_tables(plan):
            console.print(table)
        say("\n".join(plan_facts(plan)))
    if dry_run:
        with console.status(TIMING):
            expected = expected_time(plan)
        say(expected)
        return
    start = Start(
        force=force, init=init, first_stage_of=first_stage_of, manifest=manifest_file(manifest)
    )
    for run, its in runs.items():
        with show_progress(Console(quiet=not is_rank_zero()), its) as on_event:
            result = train(cases, run, its, processes=processes, start=start, on_event=on_event)
        if result.preempted:
            raise typer.Exit(PREEMPTED_EXIT_CODE)
        if is_rank_zero():
            _tell(result)


def _tell(result: "TrainingResult") -> None:
    if result.epochs == result.epochs_before:
        say(f"{result.run} is finished: {result.epochs} epochs; nothing to do")
    for remark in result.remarks:
        say(f"note: {remark}")
    score = "none" if result.best_score is None else f"{result.best_score:.3f}"
    say(f"best validation Dice {score}; checkpoints and curves.png in {result.run}")
