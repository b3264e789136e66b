"""The command: reproduce."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperCommand

app = typer.Typer()
console = Console()

SOME_FAILED_EXIT_CODE = 3
PREEMPTED_EXIT_CODE = 75  # run it again, as for `train`


class _SeveralSeeds(TyperCommand):
    """Takes `--seeds 0 1 2` for `--seeds 0 --seeds 1 --seeds 2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Repeat the option before each number that follows it."""
        spelled: list[str] = []
        after = False
        for word in args:
            if after and word.isdigit() and spelled[-1] != "--seeds":
                spelled.append("--seeds")
            after = word == "--seeds" or (after and word.isdigit())
            spelled.append(word)
        return super().parse_args(ctx, spelled)


@app.command("reproduce", cls=_SeveralSeeds)
def reproduce_command(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="As in table3 or table5.")],
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A manifest, or the folder that holds manifest.parquet."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for runs, which tables share, and tables.")
    ],
    *,
    preset: Annotated[str, typer.Option(help="tiny, default, paper or reference.")] = "default",
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(min=0, metavar="N...", help="One run of each for each.")
    ] = None,
    budget: Annotated[
        Literal["patches", "epochs"],
        typer.Option(help="What all trainings have the same number of."),
    ] = "patches",
    experiments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of experiments of your own.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs only.")] = False,
) -> None:
    """Do again an experiment of the paper: all runs of a table, and the table.

    Runs that are done are not repeated, and those that were stopped go on.
    """
    from manifests.manifest import manifest_file, read_manifest
    from train.experiments.catalogue import load_catalogue
    from train.experiments.planned_run import Request, plan_runs

    catalogue = load_catalogue(experiments)
    chosen = catalogue.table(table)
    request = Request(
        catalogue,
        read_manifest(manifest),
        manifest_file(manifest),
        out,
        preset=preset,
        overrides=tuple(override or ()),
        seeds=tuple(dict.fromkeys(seeds or (0,))),
        budget=budget,
    )
    runs = plan_runs(request, chosen.trainings)
    if dry_run:
        _list(runs)
        return
    failed = _run(runs, request, table)
    if failed:
        _say(f"{failed} of {len(runs)} runs failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _list(runs: list[Any]) -> None:
    for run in runs:
        _say(f"{run.title}: {run.problem or run.folder}")


def _run(runs: list[Any], request: Any, name: str) -> int:  # noqa: ANN401
    from train.comparison import compare
    from train.experiments.progress import drawn
    from train.experiments.rows import row_scores, scores_by_run
    from train.experiments.runner import run_all
    from train.tables import comparison_table

    outcomes = []
    with drawn(console, len(runs)) as drawing:
        for outcome in run_all(runs, on_event=drawing.on_event):
            what = outcome.run.title
            if outcome.preempted:
                drawing.say(f"{what}: stopped by a signal; the same command goes on")
                raise typer.Exit(PREEMPTED_EXIT_CODE)
            drawing.say(f"{what}: {outcome.failure or _result(outcome)}")
            drawing.one_done()
            outcomes.append(outcome)
    done = scores_by_run([(o.run, o.scores) for o in outcomes if o.scores])
    rows = row_scores(request.catalogue.table(name), request.catalogue, done)
    if rows:
        comparison = compare({row.title: row.mean for row in rows})
        for metric in ("dice", "hausdorff_mm"):
            console.print(comparison_table(comparison, metric))
    return sum(bool(outcome.failure) for outcome in outcomes)


def _result(outcome: Any) -> str:  # noqa: ANN401
    there = ", which was there" if outcome.was_there else ""
    return f"test Dice {outcome.scores.mean_dice:.3f}{there}"


def _say(text: str) -> None:
    """Print words of others, which may look like markup, as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
