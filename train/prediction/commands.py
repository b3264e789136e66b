"""The command: predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from manifests.ground.list_command import ListCommand
from train.console import SOME_FAILED_EXIT_CODE, console, say, track_progress

if TYPE_CHECKING:
    from rich.table import Table

    from manifests.ground.findings import Finding

app = typer.Typer()

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")]
CheckpointChoice = Annotated[
    Literal["best", "last"], typer.Option(help="Checkpoint of the run to use.")
]
Overlap = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Fraction of a window that the next overlaps.")
]
ResampleUneven = Annotated[
    bool,
    typer.Option(
        "--resample-uneven",
        help="Resample DICOM series of two planned slice distances to the finer one.",
    ),
]
RefuseTilt = Annotated[
    bool,
    typer.Option(
        "--refuse-tilt",
        help="Refuse series of a tilted gantry, rather than resample them to right angles.",
    ),
]


@app.command("predict", cls=ListCommand)
def predict_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... IMAGE...",
            help="A run's folder, a checkpoint file, or several, which are averaged. Then CT "
            "scans: NIfTI, NRRD or MetaImage files, DICOM folders, or folders of these.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the label maps.")],
    *,
    checkpoint: CheckpointChoice = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    mirror: Annotated[
        Literal["none", "trained", "in-plane"],
        typer.Option(
            help="Average over flips: along the axes that the training flipped, or along y and x. "
            "Two axes take four times as long."
        ),
    ] = "none",
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep only each organ's largest component.")
    ] = False,
    dicom_seg: Annotated[
        Literal["binary", "labelmap"] | None,
        typer.Option(
            metavar="[binary|labelmap]",
            help="Also write DICOM SEG; the scans must be DICOM folders. Default: binary. A "
            "labelmap holds class ids: highdicom 0.28.2 and dcmqi 1.5.7 read it, SimpleITK 2.5.7 "
            "and Plastimatch 1.10.0 refuse it.",
        ),
    ] = None,
    rtstruct: Annotated[
        bool, typer.Option("--rtstruct", help="Also write DICOM RTSTRUCT, of DICOM folders.")
    ] = False,
    save_probabilities: Annotated[
        bool,
        typer.Option(
            "--save-probabilities",
            help="Also write each class's probability on the network's grid (.npz, float16).",
        ),
    ] = False,
    resample_uneven: ResampleUneven = False,
    refuse_tilt: RefuseTilt = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite existing label maps.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List scans and outputs, and exit.")
    ] = False,
) -> None:
    """Segment scans, each on its own grid; if interrupted, run it again to continue."""
    from manifests.anatomy.audit import CODES
    from manifests.volumes.readers.repairs import Repairs
    from train.checkpoints.ensembles import load_ensemble, split_runs
    from train.device import pick_device
    from train.prediction.companions import Companions
    from train.prediction.mirroring import mirror_axes
    from train.prediction.predict import plan_outputs, predict_files
    from train.prediction.sliding_window import Predictor

    runs, images = split_runs(paths)
    if not images:
        msg = "expected RUN IMAGE, as in: marginalia predict runs/union scan.nii.gz --out segmented"
        raise typer.BadParameter(msg, param_hint="'RUN... IMAGE...'")
    model = load_ensemble(runs, which=checkpoint)
    axes = mirror_axes(model, mirror)
    planned = plan_outputs(images, out)
    if dry_run:
        for scan, output in planned:
            say(f"{scan} -> {output}{', which is there' if output.exists() else ''}")
        return
    repairs = Repairs(straighten_tilt=not refuse_tilt, resample_uneven=resample_uneven)
    results = predict_files(
        Predictor(model, pick_device(device), overlap, axes, repairs),
        images,
        out,
        largest_component=largest_component,
        companions=Companions(dicom_seg, rtstruct, save_probabilities),
        overwrite=overwrite,
    )
    failed, suspects = 0, []
    for result in track_progress(results, len(planned), "predicting"):
        took = f" ({result.seconds:.0f} s)" if result.outcome == "written" else ""
        what = f"{result.scan}: {result.reason}" if result.reason else f"{result.output}{took}"
        say(f"{result.outcome}  {what}")
        for finding in result.findings:
            say(f"  {finding.code}: {finding.reason}")
        suspects += [(result.scan, f) for f in result.findings if f.code in CODES.values()]
        failed += result.outcome == "failed"
    legend = ", ".join(f"{n} {name}" for n, name in enumerate(model.label_space.names))
    say(f"label values: {legend}")
    if suspects:
        console.print(_suspects_table(suspects))
    if failed:
        say(f"{failed} of {len(planned)} scans failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _suspects_table(suspects: "list[tuple[Path, Finding]]") -> "Table":
    from manifests.views.table_style import folded, new_table, plain

    title = "Headers that the anatomy contradicts: look at the scan, and correct its file"
    rows = ((plain(scan), plain(f.code), plain(f.reason)) for scan, f in suspects)
    return new_table(title, folded("scan", "finding", "reason"), rows)
