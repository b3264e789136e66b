"""The commands: seen, pack, fingerprint and match."""

from pathlib import Path
from typing import Annotated

import typer

from train.console import SOME_FAILED_EXIT_CODE, console, say
from train.prediction.commands import CheckpointChoice, RefuseTilt, ResampleUneven

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
    resample_uneven: ResampleUneven = False,
    refuse_tilt: RefuseTilt = False,
) -> None:
    """List which of these scans, or parts of them, a network was trained on."""
    from manifests.volumes.readers.repairs import Repairs
    from train.checkpoints.ensembles import load_ensemble
    from train.provenance.seen_scans import look_for_seen

    model = load_ensemble([run], which=checkpoint)
    learnt = [network.learnt for network in model.networks]
    if not any(each.cases for each in learnt):
        say(f"note: {run} does not say which cases it was trained on; nothing can be found")
    looked = seen = failed = 0
    repairs = Repairs(straighten_tilt=not refuse_tilt, resample_uneven=resample_uneven)
    for scan in look_for_seen(source, learnt, repairs=repairs):
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
    from train.scoring.model_card import write_model_card

    runs = fold_folders(run) or [run]
    cards = [write_model_card(each) for each in runs]
    write_package(run, out, which=checkpoint, texts=cards[:1])
    say(f"{out}: {len(runs)} networks, {out.stat().st_size / 1e6:.1f} MB; predict takes it as RUN")


@app.command("fingerprint")
def fingerprint_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|ARCHIVE|MANIFEST",
            help="Scans, as predict takes them, also in a zip or a tar, or a manifest.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The *.parquet file to write.")
    ],
    *,
    jobs: Annotated[int, typer.Option(min=0, help="Processes. 0: one per core.")] = 0,
    resample_uneven: ResampleUneven = False,
    refuse_tilt: RefuseTilt = False,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on this Dask cluster, whose workers must see the same folders; `local` "
            "starts a cluster on this machine.",
        ),
    ] = None,
) -> None:
    """Write fingerprints of CT scans, by which match finds copies; run it again to continue."""
    from functools import partial

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from manifests.ground.dask_cluster import check_cluster
    from manifests.ground.dask_workers import run_on_dask
    from manifests.ground.machine import usable_cores
    from manifests.ground.workers import run_all
    from manifests.volumes.readers.repairs import Repairs
    from train.provenance.fingerprint_table import write_fingerprints

    if dask:
        check_cluster(dask)
        source, out = source.absolute(), out.absolute()  # workers stand in other folders
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("fingerprinting")
        done = write_fingerprints(
            source,
            out,
            repairs=Repairs(straighten_tilt=not refuse_tilt, resample_uneven=resample_uneven),
            jobs=jobs or usable_cores(),
            executor=partial(run_on_dask, address=dask, shared=out.parent) if dask else run_all,
            notify=lambda n, total: progress.update(task, completed=n, total=total),
        )
    for name, reason in sorted(done.failures.items()):
        say(f"failed  {name}: {reason}")
    say(f"{out}: {done.rows} fingerprints, {done.made} of them made now")
    if done.failures:
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


@app.command("match")
def match_command(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A file of fingerprints, or a manifest.")
    ],
    second: Annotated[
        Path, typer.Argument(metavar="B", help="Another one, or the same for pairs within it.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write the pairs to this file."),
    ] = None,
) -> None:
    """List pairs of scans that show the same, in whole or in part, whatever they are called."""
    from manifests.views.table_style import folded, new_table, right
    from train.provenance.fingerprint_table import read_fingerprints
    from train.provenance.matched_scans import match_scans, write_csv

    pairs = list(match_scans(read_fingerprints(first), read_fingerprints(second)))
    rows = [
        (p.a, p.b, p.shows, p.turn, p.shift_mm, f"{p.votes} of {p.candidates}", p.by) for p in pairs
    ]
    columns = [*folded("a", "b", "shows", "turn", "shift in mm"), *right("votes"), *folded("by")]
    console.print(new_table(f"{len(pairs)} pairs of scans that show the same", columns, rows))
    if out is not None:
        write_csv(pairs, out)
        say(f"with the headers of both: {out}")
