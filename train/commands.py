"""Commands: train, predict, evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

    from train.evaluate import Evaluated
    from train.events import Event
    from train.plan import TrainingPlan
    from train.settings import TrainSettings

app = typer.Typer()
console = Console()

SOME_FAILED_EXIT_CODE = 3

T = TypeVar("T")
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")]
Which = Annotated[Literal["best", "last"], typer.Option(help="Which of the run's checkpoints.")]
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
        failed += result.outcome == "failed"
    legend = ", ".join(f"{n} {name}" for n, name in enumerate(model.label_space.names))
    _say(f"label values: {legend}")
    if failed:
        _say(f"{failed} of {len(images)} scans failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


@app.command("evaluate")
def evaluate_command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="A run's folder.")
    ],
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A manifest, or the folder that holds manifest.parquet."
        ),
    ],
    *,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    checkpoint: Which = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw each case as a PNG file, too.")
    ] = False,
) -> None:
    """Score a network on a split: Dice, Hausdorff distance and HD95 by class and dataset."""
    from manifests.manifest import read_manifest
    from train.checkpoint import load_model
    from train.device import pick_device
    from train.evaluate import evaluate_cases, gather, scores_folder, settings_of
    from train.overlays import case_overlay, overlay_path, write_overlay
    from train.scores import write_scores
    from train.tables import scores_table

    model, cases = load_model(run, which=checkpoint), read_manifest(manifest)
    settings = settings_of(model, cases, split=split, overlap=overlap)
    folder = scores_folder(run, split)

    def watched() -> "Iterator[Evaluated]":
        results = evaluate_cases(
            model, cases, split=split, device=pick_device(device), overlap=overlap
        )
        for result in _counted(results, len(settings["cases"]), "evaluating"):
            if result.prediction is None:
                _say(f"failed  {result.case.case_id}: {result.failure}")
            elif overlays:
                figure = case_overlay(cases, result.case, {run.name: result.prediction})
                write_overlay(figure, overlay_path(folder / "overlays", result.case.case_id))
            yield result

    scores = gather(watched(), settings)
    write_scores(scores, folder)
    console.print(scores_table(scores, title=f"{run.name} on {split}"))
    _say(f"scores of each case: {folder / 'scores.csv'}")
    if scores.failures:
        _say(f"{len(scores.failures)} of {len(settings['cases'])} cases failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


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
