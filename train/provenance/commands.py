"""The commands: seen and pack."""

from pathlib import Path
from typing import Annotated

import typer

from train.console import SOME_FAILED_EXIT_CODE, say
from train.prediction.commands import CheckpointChoice

app = typer.Typer()

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, a checkpoint file or a package.")
]


@app.command("seen")
def seen_command(
    run: RunArgument,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|MANIFEST", help="Scans, as predict takes them, or a manifest."
        ),
    ],
    *,
    checkpoint: CheckpointChoice = "best",
) -> None:
    """List which of these scans, or parts of them, a network was trained on."""
    from train.checkpoints.ensembles import load_ensemble
    from train.provenance.seen_scans import look_for_seen

    model = load_ensemble([run], which=checkpoint)
    learnt = [network.learnt for network in model.networks]
    if not any(each.cases for each in learnt):
        say(f"note: {run} does not say which cases it was trained on; nothing can be found")
    looked = seen = failed = 0
    for scan in look_for_seen(source, learnt):
        if scan.failure:
            say(f"failed  {scan.name}: {scan.failure}")
        elif scan.seen:
            say(f"seen  {scan.name}: {scan.seen}")
        looked, seen, failed = looked + 1, seen + bool(scan.seen), failed + bool(scan.failure)
    say(f"{seen} of {looked} scans were trained on")
    if failed:
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


@app.command("pack")
def pack_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a cross-validation.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The new *.zip file.")],
    *,
    checkpoint: CheckpointChoice = "best",
) -> None:
    """Pack a run's networks and model card into one file, which predict takes as a run."""
    from train.checkpoints.fold_folders import fold_folders
    from train.checkpoints.package import write_package
    from train.provenance.model_card import write_model_card

    runs = fold_folders(run) or [run]
    cards = [write_model_card(each) for each in runs]
    write_package(run, out, which=checkpoint, texts=cards[:1])
    say(f"{out}: {len(runs)} networks, {out.stat().st_size / 1e6:.1f} MB; predict takes it as RUN")
