"""The command: compare."""

from pathlib import Path
from typing import Annotated

import typer

from manifests.ground.list_command import ListCommand
from train.console import console, say
from train.scoring.commands import Split

app = typer.Typer()


@app.command("compare", cls=ListCommand)
def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of evaluated runs or of scores. NAME=FOLDER sets the name of a run.",
        ),
    ],
    *,
    split: Split = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...", help="Metrics: dice, iou, hausdorff_mm, hd95_mm, assd_mm, nsd."
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="NAME", help="Run to test against, or best. Default: the first.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for tables, worst cases, pictures.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Number of worst cases to list and draw.")] = 5,
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Manifest of the cases to draw, if it was moved."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Compare evaluated runs: tables as in the paper, intervals, p-values and the worst cases."""
    from manifests.ground.near_names import did_you_mean
    from train.comparison.comparison import compare
    from train.comparison.files import write_comparison
    from train.comparison.tables import comparison_view, worst_view
    from train.comparison.worst import draw_worst, worst_cases
    from train.scoring.metrics import METRICS
    from train.scoring.runs import open_runs

    shown = metric or ["dice", "hausdorff_mm"]
    if unknown := set(shown) - set(METRICS):
        near = did_you_mean(min(unknown), METRICS)
        msg = f"no metric {', '.join(sorted(unknown))}{near}: expected some of {', '.join(METRICS)}"
        raise typer.BadParameter(msg, param_hint="'--metric'")
    opened = open_runs(runs, split=split)
    comparison = compare({run.name: run.scores for run in opened}, against=against, seed=seed)
    for name in comparison.metrics:
        if name in shown:
            console.print(comparison_view(comparison, name))
    cases = worst_cases(opened, worst)
    if len(cases):
        console.print(worst_view(cases, comparison.names))
    if out is not None:
        write_comparison(comparison, opened, cases, out)
        for line in draw_worst(cases, opened, manifest, out / "overlays"):
            say(line)
        say(f"tables of all metrics, with every number behind them: {out}")
