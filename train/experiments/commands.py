"""The command: reproduce."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from manifests.commands import ManifestPath
from manifests.ground.list_command import ListCommand
from train.console import (
    PREEMPTED_EXIT_CODE,
    SOME_FAILED_EXIT_CODE,
    TIMING,
    FirstThatFits,
    console,
    say,
)
from train.training.commands import Overrides, Preset

if TYPE_CHECKING:
    from train.experiments.plans.planned_run import PlannedRun, RunRequest
    from train.experiments.runner import RunResult
    from train.experiments.tables.results_table import ResultsTable

app = typer.Typer()


@app.command("reproduce", cls=ListCommand)
def reproduce_command(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Table, such as table3.")],
    manifest: ManifestPath,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the tables and their shared runs.")
    ],
    *,
    preset: Preset = "default",
    override: Overrides = None,
    seeds: Annotated[
        list[int] | None, typer.Option(min=0, metavar="N,...", help="Seeds: one run with each.")
    ] = None,
    budget: Annotated[
        Literal["patches", "epochs"],
        typer.Option(help="Whether all trainings have the same number of patches or of epochs."),
    ] = "patches",
    experiments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with your own experiments.")
    ] = None,
    select_on: Annotated[
        Literal["validation", "test"],
        typer.Option(help="Cases that select the best checkpoint. The paper used test cases."),
    ] = "validation",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Run only these trainings, and make no table."),
    ] = None,
    slurm: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a SLURM array script, run nothing.")
    ] = None,
    dask: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the workers of a Dask cluster.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List runs, times and commands, and exit.")
    ] = False,
) -> None:
    """Reproduce a table of the paper: do all of its runs, and make the table.

    Finished runs are not repeated, and stopped runs are resumed.
    """
    from manifests.ground.near_names import did_you_mean
    from manifests.table.manifest import manifest_file, read_manifest
    from train.experiments.plans.catalogue import load_catalogue
    from train.experiments.plans.planned_run import RunRequest, plan_runs
    from train.experiments.slurm_script import same_command

    catalogue = load_catalogue(experiments)
    names = catalogue.table(table).trainings
    if unknown := set(only or ()) - set(names):
        near = did_you_mean(min(unknown), names)
        msg = f"no training {', '.join(sorted(unknown))}{near}: expected some of {', '.join(names)}"
        raise typer.BadParameter(msg, param_hint="'--only'")
    request = RunRequest(
        catalogue,
        read_manifest(manifest),
        manifest_file(manifest),
        out,
        preset=preset,
        overrides=tuple(override or ()),
        seeds=tuple(dict.fromkeys(seeds or (0,))),
        budget=budget,
        select_on=select_on,
    )
    runs = plan_runs(request, [name for name in names if not only or name in only])
    if slurm is not None:
        _write_slurm(slurm, runs, same_command(table, request, experiments))
    elif dry_run:
        _list(runs, request)
    else:
        results = _results(runs, dask)
        if not only:
            _make_table(results, request, table)
        if failed := sum(bool(result.failure) for result in results):
            say(f"{failed} of {len(runs)} runs failed")
            raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _list(runs: "list[PlannedRun]", request: "RunRequest") -> None:
    """Each run with its time and its commands, and the time of all."""
    from train.experiments.plans.costs import expected_seconds, total
    from train.experiments.slurm_script import run_commands
    from train.planning.view import duration

    with console.status(TIMING):
        seconds = expected_seconds(runs)
    for run in runs:
        say(f"# {run.title}: {run.problem or duration(seconds[run])}")
        for line in run_commands(run, request):
            say(line)
    say(f"# {len({run.folder for run in seconds})} runs, {duration(total(seconds))} in all")
    _require_planned(runs)


def _write_slurm(path: Path, runs: "list[PlannedRun]", again: list[str]) -> None:
    """Write an array of the runs that can be planned, and say of the others why they cannot."""
    from manifests.ground.atomic import write_text
    from train.experiments.slurm_script import slurm_script, write_manifests

    for run in (run for run in runs if run.prepared is None):
        say(f"{run.title}: {run.problem}")
    if any(run.prepared for run in runs):
        write_manifests(runs)
        write_text(path, slurm_script(runs, again))
        say(f"sbatch {path}")
    _require_planned(runs)


def _require_planned(runs: "list[PlannedRun]") -> None:
    """End with the code of a failure, once the others are listed, if runs cannot be planned."""
    if unplanned := sum(run.prepared is None for run in runs):
        say(f"# {unplanned} of {len(runs)} runs cannot be planned, and were left out")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _make_table(results: "list[RunResult]", request: "RunRequest", name: str) -> None:
    """Show and write the table of what is done."""
    from train.experiments.reproduce import table_of, write_all

    done = {result.run: result.scores for result in results if result.scores}
    table = table_of(name, request, done)
    if table is not None:
        _show(table)
        for line in write_all(table, request, done):
            say(line)


def _results(runs: "list[PlannedRun]", address: str) -> "list[RunResult]":
    from contextlib import nullcontext

    from train.experiments.progress import show_progress
    from train.experiments.runner import on_cluster, run_all

    done = []
    with show_progress(console, len(runs)) as progress:
        here = nullcontext(run_all(runs, on_event=progress.on_event))
        with on_cluster(runs, address) if address else here as results:
            for result in results:
                progress.one_done(result)
                done.append(result)
    if any(result.preempted for result in done):
        raise typer.Exit(PREEMPTED_EXIT_CODE)
    return done


def _show(table: "ResultsTable") -> None:
    """Two metrics; their means alone where the screen is too narrow for all columns."""
    from train.experiments.tables.results_view import results_view

    for metric in ("dice", "hausdorff_mm"):
        layouts = (results_view(table, metric), results_view(table, metric, means_only=True))
        console.print(FirstThatFits(layouts))
