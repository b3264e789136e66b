"""Commands: train, predict, evaluate, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

app = typer.Typer()
console = Console()

SOME_FAILED_EXIT_CODE = 3
PREEMPTED_EXIT_CODE = 75  # as sysexits.h calls a temporary failure: run it again

T = TypeVar("T")
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")]
Which = Annotated[Literal["best", "last"], typer.Option(help="Which of the run's checkpoints.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
Overlap = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Share of a window that the next covers again.")
]


@app.command("train")
def train_command(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A manifest, or the folder that holds manifest.parquet."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for checkpoints, logs and settings.")
    ],
    *,
    preset: Annotated[str, typer.Option(help="tiny, default, paper or reference.")] = "default",
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting.")
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes on each machine, each with its GPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; torchrun or SLURM starts them.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Go on with a run although the manifest is another.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
) -> None:
    """Train a network; the same command again goes on where it was stopped.

    On SIGTERM or SIGUSR1 it saves where it is, to the very batch, and ends with exit code 75.
    """
    from manifests.manifest import read_manifest
    from train.device import pick_device
    from train.planning.plan import plan_training
    from train.planning.view import expected_time, plan_facts, plan_tables
    from train.settings import resolve
    from train.training.loop import train
    from train.training.processes import Processes, is_first
    from train.training.progress import drawn

    settings = resolve(preset, override or [])
    cases = read_manifest(manifest)
    plan = plan_training(cases, settings)
    if is_first():
        for table in plan_tables(plan):
            console.print(table)
        _say("\n".join(plan_facts(plan)))
    if dry_run:
        _say(expected_time(plan, pick_device(settings.device)))
        return
    processes = Processes(devices, nodes)
    with drawn(Console(quiet=not is_first()), settings) as drawing:
        result = train(cases, out, settings, processes=processes, force=force, on_event=drawing)
    if result.preempted:
        _say(f"stopped by a signal after {result.epochs} whole epochs; the same command goes on")
        raise typer.Exit(PREEMPTED_EXIT_CODE)
    if not is_first():
        return
    if result.epochs == result.epochs_before:
        _say(f"{out} is finished: {result.epochs} epochs; nothing to do")
    score = "none" if result.best_score is None else f"{result.best_score:.3f}"
    _say(f"best validation Dice {score}; checkpoints and curves.png in {out}")


@app.command("predict")
def predict_command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, or a checkpoint file.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="CT: NIfTI, NRRD, MetaImage, a DICOM folder; or folders of them.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the label maps.")],
    *,
    checkpoint: Which = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    mirror: Annotated[
        Literal["none", "trained", "in-plane"],
        typer.Option(
            help="Average over mirror images: along the axes that the network was trained with, "
            "or y and x. Two axes take four times the time."
        ),
    ] = "none",
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep each organ's largest piece only.")
    ] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option("--dicom-seg", help="Write DICOM SEG, too; the scans must be DICOM folders."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace label maps that are there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List scans and outputs only.")
    ] = False,
) -> None:
    """Segment scans, each on its own grid; run again to do what is missing."""
    from train.checkpoints.restoration import load_model
    from train.device import pick_device
    from train.prediction.mirroring import mirror_axes
    from train.prediction.predict import plan_outputs, predict_files

    model = load_model(run, which=checkpoint)
    axes = mirror_axes(model, mirror)
    planned = plan_outputs(images, out)
    if dry_run:
        for scan, output in planned:
            _say(f"{scan} -> {output}{', which is there' if output.exists() else ''}")
        return
    results = predict_files(
        model,
        images,
        out,
        device=pick_device(device),
        overlap=overlap,
        mirror_axes=axes,
        largest_component=largest_component,
        dicom_seg=dicom_seg,
        overwrite=overwrite,
    )
    failed = 0
    for result in _counted(results, len(planned), "predicting"):
        took = f" ({result.seconds:.0f} s)" if result.outcome == "written" else ""
        what = f"{result.scan}: {result.reason}" if result.reason else f"{result.output}{took}"
        _say(f"{result.outcome}  {what}")
        for finding in result.findings:
            _say(f"  {finding.code}: {finding.reason}")
        failed += result.outcome == "failed"
    legend = ", ".join(f"{n} {name}" for n, name in enumerate(model.label_space.names))
    _say(f"label values: {legend}")
    if failed:
        _say(f"{failed} of {len(planned)} scans failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


@app.command("evaluate")
def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] MANIFEST",
            help="A run's folder, unless --predictions is given, and a manifest.",
        ),
    ],
    *,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Score the label maps there, made by any program."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON or TOML: which values of the label maps mean which class, as in nnU-Net's "
            "dataset.json. By default they are class ids.",
        ),
    ] = None,
    split: Split = "test",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the scores; by default evaluation/SPLIT in RUN or DIR."
        ),
    ] = None,
    checkpoint: Which = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    tolerance_mm: Annotated[
        float, typer.Option(min=0.0, help="How far surfaces may be apart to count as one in NSD.")
    ] = 3.0,
    jobs: Annotated[
        int, typer.Option(min=0, help="Label maps scored at a time; 0 for one per core.")
    ] = 0,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw each case as a PNG file, too.")
    ] = False,
) -> None:
    """Score a network, or any program's label maps: Dice, distances, NSD by class and dataset."""
    import os

    from train.comparison.tables import scores_table
    from train.comparison.worst import draw_kept
    from train.scoring.evaluate import gather
    from train.scoring.evaluation import of_label_maps, of_network, with_manifest
    from train.scoring.runs import Run
    from train.scoring.scores import write_scores

    if len(paths) != (2 if predictions is None else 1):
        msg = "expected RUN MANIFEST, or MANIFEST --predictions DIR"
        raise typer.BadParameter(msg, param_hint="'[RUN] MANIFEST'")
    how = {"split": split, "tolerance_mm": tolerance_mm, "out": out}
    if predictions is None:
        network = {"checkpoint": checkpoint, "device": device, "overlap": overlap}
        evaluation = of_network(*paths, **network, **how)
    else:
        workers = jobs or os.cpu_count() or 1
        evaluation = of_label_maps(predictions, *paths, labels=labels, jobs=workers, **how)
    for remark in evaluation.remarks:
        _say(f"note: {remark}")
    total = len(evaluation.settings["cases"])
    results = _counted(evaluation.results, total, "evaluating")
    scores = gather(results, with_manifest(evaluation.settings, paths[-1]))
    write_scores(scores, evaluation.folder)
    for case_id, text in (*scores.notes.items(), *scores.failures.items()):
        _say(f"{'failed' if case_id in scores.failures else 'note'}  {case_id}: {text}")
    if overlays:
        run = Run(evaluation.name, evaluation.folder, scores)
        for line in draw_kept(run, evaluation.manifest):
            _say(line)
    console.print(scores_table(scores, title=f"{evaluation.name} on {split}"))
    _say(f"scores of each case: {evaluation.folder / 'scores.csv'}")
    if scores.failures:
        _say(f"{len(scores.failures)} of {total} cases failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of evaluated runs or of scores; NAME=FOLDER gives one another name.",
        ),
    ],
    *,
    split: Split = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Table to show: dice, iou, hausdorff_mm, hd95_mm, assd_mm or nsd."),
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="NAME", help="Test against this run, or best; else the first.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for tables, worst cases, pictures.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Worst cases to list, and draw to --out.")] = 5,
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Where the cases to draw are, if it was moved."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Compare evaluated runs: tables as in the paper, intervals, p-values and the worst cases."""
    from train.comparison.comparison import compare
    from train.comparison.files import write_comparison
    from train.comparison.tables import comparison_table, worst_table
    from train.comparison.worst import draw_worst, worst_cases
    from train.scoring.metrics import METRICS
    from train.scoring.runs import open_runs

    shown = metric or ["dice", "hausdorff_mm"]
    if unknown := set(shown) - set(METRICS):
        msg = f"no metric {unknown}; expected some of {', '.join(METRICS)}"
        raise typer.BadParameter(msg, param_hint="'--metric'")
    opened = open_runs(runs, split=split)
    comparison = compare({run.name: run.scores for run in opened}, against=against, seed=seed)
    for name in comparison.metrics:
        if name in shown:
            console.print(comparison_table(comparison, name))
    cases = worst_cases(opened, worst)
    if cases:
        console.print(worst_table(cases, comparison.names))
    if out is not None:
        write_comparison(comparison, opened, cases, out)
        for line in draw_worst(cases, opened, manifest, out / "overlays"):
            _say(line)
        _say(f"tables of all metrics, with every number behind them: {out}")


def _say(text: str) -> None:
    """Print words of others, which may look like markup, as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _counted(results: "Iterable[T]", total: int, work: str) -> "Iterator[T]":
    """Hand on results, and show how many of them there were."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(work, total=total)
        for result in results:
            yield result
            progress.advance(task)
