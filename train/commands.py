"""Commands: train, predict, evaluate, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

    from train.events import Event
    from train.plan import TrainingPlan
    from train.settings import TrainSettings

app = typer.Typer()
console = Console()

SOME_FAILED_EXIT_CODE = 3

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
    preset: Annotated[str, typer.Option(help="tiny, default or paper.")] = "default",
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
) -> None:
    """Train a network; the same command again goes on where it was stopped."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from manifests.manifest import read_manifest
    from train.loop import train
    from train.plan import plan_training
    from train.settings import resolve

    settings = resolve(preset, override or [])
    cases = read_manifest(manifest)
    plan = plan_training(cases, settings)
    _show_plan(plan)
    if dry_run:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        drawing = _Drawing(progress, progress.add_task("reading", total=settings.epochs), settings)
        result = train(cases, out, settings, on_event=drawing)
    if result.epochs == result.epochs_before:
        console.print(f"{out} is finished: {result.epochs} epochs; nothing to do", soft_wrap=True)
    score = "none" if result.best_score is None else f"{result.best_score:.3f}"
    console.print(
        f"best validation Dice {score}; checkpoints in {out / 'checkpoints'}", soft_wrap=True
    )


@app.command("predict")
def predict_command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, or a checkpoint file.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="CT: NIfTI, NRRD, MetaImage or a DICOM folder."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the label maps.")],
    *,
    checkpoint: Which = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace label maps that are there.")
    ] = False,
) -> None:
    """Segment scans, each on its own grid; run again to do what is missing."""
    from train.checkpoint import load_model
    from train.device import pick_device
    from train.predict import predict_files

    model = load_model(run, which=checkpoint)
    results = predict_files(
        model, images, out, device=pick_device(device), overlap=overlap, overwrite=overwrite
    )
    failed = 0
    for result in _counted(results, len(images), "predicting"):
        took = f" ({result.seconds:.0f} s)" if result.outcome == "written" else ""
        what = f"{result.scan}: {result.reason}" if result.reason else f"{result.output}{took}"
        _say(f"{result.outcome}  {what}")
        for finding in result.findings:
            _say(f"  {finding.code}: {finding.reason}")
        failed += result.outcome == "failed"
    legend = ", ".join(f"{n} {name}" for n, name in enumerate(model.label_space.names))
    _say(f"label values: {legend}")
    if failed:
        _say(f"{failed} of {len(images)} scans failed")
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

    from train.evaluate import gather
    from train.evaluation import of_label_maps, of_network, with_manifest
    from train.runs import Run
    from train.scores import write_scores
    from train.tables import scores_table
    from train.worst import draw_kept

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
    from train.comparison import compare
    from train.comparison_files import write_comparison
    from train.metrics import METRICS
    from train.runs import open_runs
    from train.tables import comparison_table, worst_table
    from train.worst import draw_worst, worst_cases

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


class _Drawing:
    """Draws a training's events."""

    def __init__(self, progress: "Progress", task: "TaskID", settings: "TrainSettings") -> None:
        self.progress, self.task, self.epochs = progress, task, settings.epochs

    def __call__(self, event: "Event") -> None:
        """Draw one event."""
        from train.events import EpochDone, Started

        if isinstance(event, Started):
            before = f", going on after epoch {event.epochs_done}" if event.epochs_done else ""
            self.progress.console.print(f"training on {event.device}{before}")
            self.progress.update(self.task, completed=event.epochs_done)
        elif isinstance(event, EpochDone):
            r = event.record
            score = (
                "" if r.validation_dice is None else f"  validation Dice {r.validation_dice:.3f}"
            )
            best = "  best so far" if event.improved and score else ""
            self.progress.console.print(
                f"epoch {r.epoch:4d}  stage {r.stage}  loss {r.loss:.4f}  "
                f"{r.seconds:.0f} s{score}{best}",
                highlight=False,
            )
        else:
            done = event.epoch - 1 + event.step / event.steps
            text = f"epoch {event.epoch}/{self.epochs}  loss {event.loss:.3f}"
            self.progress.update(self.task, completed=done, description=text)


def _show_plan(plan: "TrainingPlan") -> None:
    from rich.table import Table

    from train.plan import annotated_counts

    datasets = sorted({c.dataset for c in (*plan.training, *plan.validation)})
    full = {c.case_id for c in plan.cases(1)}
    table = Table("dataset", "train", "of them fully labelled", "validation", title="cases")
    for name in datasets:
        training = [c for c in plan.training if c.dataset == name]
        validation = sum(c.dataset == name for c in plan.validation)
        labelled = sum(c.case_id in full for c in training)
        table.add_row(name, str(len(training)), str(labelled), str(validation))
    console.print(table)
    table = Table("class", "train", "validation", title="cases that annotate a class")
    counts = [annotated_counts(c, plan.label_space) for c in (plan.training, plan.validation)]
    for name in plan.label_space.names[1:]:
        table.add_row(name, *(str(count[name]) for count in counts))
    console.print(table)
    console.print("\n".join(_facts(plan)), highlight=False, soft_wrap=True)


def _facts(plan: "TrainingPlan") -> list[str]:
    from train.network import count_parameters, plan_levels

    settings, scale = plan.settings, plan.normalisation
    z, y, x = settings.patch_size_zyx
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_mm)
    parameters = count_parameters(plan.network, len(plan.label_space))
    first, second = settings.stage_epochs
    return [
        f"network: {len(plan_levels(plan.network))} levels, {parameters:,} parameters",
        f"patch: {x} x {y} x {z} voxels of {spacing} mm, {settings.batch_size} in a batch",
        f"intensity: {scale.low_hu:.0f} to {scale.high_hu:.0f} HU, "
        f"mean {scale.mean_hu:.0f}, deviation {scale.std_hu:.0f}",
        f"epochs: {first} on fully labelled cases, {second} on all; "
        f"{settings.patches_per_dataset} patches of each dataset",
        *(f"note: {remark}" for remark in plan.remarks),
    ]
