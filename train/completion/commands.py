"""The command: complete."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.commands import Filter, ManifestPath
from manifests.ground.list_command import ListCommand
from train.console import SOME_FAILED_EXIT_CODE, console, say, track_progress
from train.prediction.commands import CheckpointChoice, Device, Overlap

if TYPE_CHECKING:
    from rich.table import Table

    from train.completion.complete import CompletedCase, CompletionPlan

app = typer.Typer()

FILE_NAME = "completed.parquet"


@app.command("complete", cls=ListCommand)
def complete_command(
    manifest: ManifestPath,
    runs: Annotated[
        list[Path],
        typer.Option(
            "--from",
            metavar="RUN",
            help="The network: a run's folder, a checkpoint file or a package; several are "
            "averaged.",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"The new manifest, in the folder of the old one or above. Default: {FILE_NAME}.",
        ),
    ] = None,
    where: Filter = None,
    least: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Probability from which the network is believed; voxels below it are ignored.",
        ),
    ] = 0.9,
    checkpoint: CheckpointChoice = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how many cases may gain each class, and exit.")
    ] = False,
) -> None:
    """Let a network label what annotators left out, beside their labels; run again to continue."""
    from manifests.table.manifest import manifest_file, prefix_for, read_head, read_manifest
    from manifests.table.sql import select_cases
    from train.checkpoints.ensembles import load_ensemble
    from train.completion.complete import complete_cases, plan_completion, write_completed
    from train.device import pick_device
    from train.prediction.sliding_window import Predictor

    source = manifest_file(manifest)
    out = out or source.with_name(FILE_NAME)
    prefix_for(read_head(source), out)  # to be refused before hours of work, and not after
    with select_cases(source, where) as cases:
        chosen = frozenset(cases.ids())
    predictor = Predictor(load_ensemble(runs, which=checkpoint), pick_device(device), overlap)
    plan = plan_completion(predictor, read_manifest(source), chosen, least=least)
    for remark in plan.remarks:
        say(f"note: {remark}")
    if dry_run:
        console.print(_table(plan, ()))
        return
    results: list[CompletedCase] = []
    for result in track_progress(complete_cases(plan, predictor), len(plan.cases), "completing"):
        say(_line(result))
        results.append(result)
    write_completed(plan, results, source, out)
    console.print(_table(plan, results))
    say(f"written: {out}; to train with it: marginalia train {out} --out RUN")
    if failed := sum(result.outcome == "failed" for result in results):
        say(f"{failed} of {len(results)} cases failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _line(result: "CompletedCase") -> str:
    words = ", ".join(f"{name} {n:,} voxels" for name, n in result.voxels.items())
    what = result.reason or words or "no class that the network is sure of"
    took = f" ({result.seconds:.0f} s)" if result.outcome == "completed" else ""
    return f"{result.outcome}  {result.case.case_id}: {what}{took}"


def _table(plan: "CompletionPlan", results: "tuple[()] | list[CompletedCase]") -> "Table":
    from manifests.views.table_style import new_table, right, unbroken

    gained = Counter(name for result in results for name in result.voxels)
    columns = [*unbroken("class"), *right("may gain it", *(["gained it"] if results else []))]
    title = f"Cases that a network completes, of {len(plan.cases)}"
    rows = (
        (name, str(n), *([str(gained[name])] if results else []))
        for name, n in plan.gains().items()
    )
    return new_table(title, columns, rows)
