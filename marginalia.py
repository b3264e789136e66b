"""The entry point: collects the commands of the packages, and has `demo`, which uses them all.

It is also what users of Python import from: `from marginalia import read_manifest`. Those names are
looked up when they are asked for, so that the commands need not wait for PyTorch.
"""
# ruff: noqa: E402 - the packages are imported after a look at where they would come from

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

PACKAGES = ("curate", "manifests", "train")


def _refuse_other_packages() -> None:
    """Refuse to import a user's `train.py` in place of our package, which would run it.

    Raises:
        ImportError: Python finds another file first under the name of one of our packages.
    """
    for name in PACKAGES:
        ours = Path(__file__).with_name(name) / "__init__.py"
        if name in sys.modules:
            found = getattr(sys.modules[name], "__file__", None)
        else:
            spec = find_spec(name)
            found = spec.origin if spec else None
        if found is None or not ours.is_file() or Path(found).resolve() == ours.resolve():
            continue
        msg = (
            f"marginalia has a package called {name!r}, and Python finds {found} first under this "
            f"name (expected {ours}). Rename that file or folder; or, if it is in the folder of "
            f"your program, start the program with `python -P`, which does not look there for "
            f"modules"
        )
        raise ImportError(msg)


_refuse_other_packages()

import curate.commands
import manifests.commands
import manifests.exports.commands
import train.commands
import train.nnunet.commands
from manifests.ground.errors import MarginaliaError
from manifests.ground.machine import usable_cores

if TYPE_CHECKING:
    from curate.preparation.tally import Notify
    from manifests.classes.label_space import LabelSpace, load_label_space
    from manifests.classes.merged import merged_classes
    from manifests.table.case import Case
    from manifests.table.manifest import Manifest, read_manifest
    from train.checkpoints.restoration import load_model
    from train.losses import MarginalExclusionLoss
    from train.model import Model, Normalisation, normalise
    from train.patches.case_dataset import CaseDataset
    from train.planning.plan import normalisation_of
    from train.prediction.predict import predict_image
    from train.prediction.sliding_window import Predictor
    from train.scoring.case_scores import score_case
    from train.scoring.evaluate import CaseResult
    from train.scoring.scores import Scores

# The names for users of Python, and where they are.
FACE = {
    "read_manifest": "manifests.table.manifest",
    "Manifest": "manifests.table.manifest",
    "Case": "manifests.table.case",
    "LabelSpace": "manifests.classes.label_space",
    "load_label_space": "manifests.classes.label_space",
    "merged_classes": "manifests.classes.merged",
    "CaseDataset": "train.patches.case_dataset",
    "Normalisation": "train.model",
    "normalisation_of": "train.planning.plan",
    "normalise": "train.model",
    "MarginalExclusionLoss": "train.losses.marginal_exclusion",
    "Model": "train.model",
    "load_model": "train.checkpoints.restoration",
    "Predictor": "train.prediction.sliding_window",
    "predict_image": "train.prediction.predict",
    "score_case": "train.scoring.case_scores",
}
# fmt: off
__all__ = [
    "Case", "CaseDataset", "LabelSpace", "Manifest", "MarginalExclusionLoss", "MarginaliaError",
    "Model", "Normalisation", "Predictor", "load_label_space", "load_model", "merged_classes",
    "normalisation_of", "normalise", "predict_image", "read_manifest", "score_case",
]
# fmt: on


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return a name for users of Python, imported now."""
    if name not in FACE:
        msg = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(msg)
    return getattr(import_module(FACE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)
exports = typer.Typer(
    help="Write cases and networks in the form of other programs.", no_args_is_help=True
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"marginalia {version('marginalia')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """One segmentation network from partially labelled CT datasets."""


for package in (curate, manifests, train):
    app.add_typer(package.commands.app)
for room in (manifests.exports, train.nnunet):
    exports.add_typer(room.commands.app)
app.add_typer(exports, name="export")

# Coarse, so that a patch of the tiny preset holds most of the abdomen.
DEMO_SPACING_MM = (6.0, 6.0, 6.0)
# Both learn from 360 batches. The first half is the same, and is computed once: 15 x 24 / 2 of F.
# Then come as many of F again, or 3 x 5 x 24 / 2 of the union.
DEMO_NETWORKS = {
    "full_only": [
        "datasets=btcv",
        "stage_epochs=15,15",
        "patches_per_dataset=24",
        "validation_every=18",
    ],
    "union": ["stage_epochs=15,3", "patches_per_dataset=24", "validation_every=18"],
}
DEMO_FIRST = "full_only"  # whose first stage the others go on from
# What a file or the machine is to blame for, where no nearer place says it better.
OF_THE_MACHINE = (OSError, MemoryError, RecursionError, UnicodeError, OverflowError)
DEMO_TITLES = {"full_only": "F only", "union": "union"}


def main() -> None:
    """Run a command; show an error that a user can act on as a message, without a traceback."""
    # PyTorch's idle threads would spin, and take CPU time from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # OpenMP knows the affinity of a process, and not the quota of its container.
    if (cores := usable_cores()) < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    try:
        app()
    except MarginaliaError as error:
        _end_with(str(error))
    except OF_THE_MACHINE as error:
        *_, last = ["", *str(error).strip().splitlines()]
        _end_with(f"{type(error).__name__}: {last or 'out of memory'}")


def _end_with(message: str) -> NoReturn:
    console = Console(stderr=True)
    console.print("Error:", style="bold red", end=" ")
    console.print(message, highlight=False, markup=False)
    sys.exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all outputs of the demo.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantom and the trainings.")] = 0,
) -> None:
    """Run the whole workflow on phantom archives: prepare, inspect, train, evaluate, compare.

    One network sees only the fully labelled dataset F, with regular losses. The other sees the
    union of all five, with marginal and exclusion losses. Both see the same number of patches, and
    share the first stage, in which both see F only.
    """
    from time import perf_counter

    from curate.progress import progress_bars
    from manifests.table.sql import select_cases
    from manifests.table.summary import summarise
    from manifests.views.tables import summary_view
    from train.comparison.tables import compare_table

    started, console = perf_counter(), Console()
    with progress_bars(console) as notify:
        manifest = _demo_cases(out, seed, notify)
        with select_cases(manifest) as cases:
            console.print(summary_view(summarise(cases), manifest.label_space))
        results = {name: _demo_network(name, manifest, out, seed, notify) for name in DEMO_NETWORKS}
        _demo_overlays(results, manifest, out / "overlays", notify)
    scores = {name: _demo_scores(name, manifest, out, results[name]) for name in results}
    console.print(compare_table({DEMO_TITLES[name]: s for name, s in scores.items()}))
    seconds = perf_counter() - started
    _write_demo_summary(out / "summary.json", scores, seed, seconds)
    said = f"{seconds:.0f} s; overlays in {out / 'overlays'}; {out / 'summary.json'}"
    console.print(said, markup=False)


def _demo_cases(out: Path, seed: int, notify: "Notify") -> "Manifest":
    """Make phantom archives in the five real layouts, and prepare them."""
    from curate.cases.target import Target
    from curate.phantom.archives import write_phantom_archives
    from curate.preparation.plan import PrepareRequest
    from curate.preparation.prepare import prepare
    from curate.recipes.schema import PAPER, load_recipe
    from manifests.classes.label_space import load_label_space

    write_phantom_archives(out / "raw", seed=seed, notify=notify)
    target = Target(load_label_space("abdomen5"), DEMO_SPACING_MM, out / "prepared")
    recipes = tuple(load_recipe(name) for name in PAPER)
    request = PrepareRequest(recipes, out / "raw", target)
    return prepare(request, workers=curate.commands.WORKERS, notify=notify).manifest


def _demo_network(
    name: str, manifest: "Manifest", out: Path, seed: int, notify: "Notify"
) -> "list[CaseResult]":
    """Train one of the two networks and predict the test cases of every dataset with it."""
    from train.checkpoints.restoration import load_model
    from train.scoring.evaluate import EvaluationRequest, evaluate_cases, scorable_cases
    from train.settings import resolve
    from train.training.events import Event, StepDone
    from train.training.loop import train as run_training
    from train.training.start import Start

    settings = resolve("tiny", [*DEMO_NETWORKS[name], f"seed={seed}"])

    def on_event(event: Event) -> None:
        if isinstance(event, StepDone):
            done = (event.epoch - 1) * 100 + 100 * event.step // event.steps
            notify(f"train {DEMO_TITLES[name]}", done, event.epochs * 100)

    shared = out / DEMO_FIRST if name != DEMO_FIRST and settings.stage_epochs[0] else None
    start = Start(first_stage_of=shared)
    run_training(manifest, out / name, settings, start=start, on_event=on_event)
    model = load_model(out / name)
    total = len(scorable_cases(model, manifest, EvaluationRequest()))
    results = []
    for result in evaluate_cases(model, manifest, EvaluationRequest(device="auto")):
        results.append(result)
        notify(f"evaluate {DEMO_TITLES[name]}", len(results), total)
    return results


def _demo_scores(
    name: str, manifest: "Manifest", out: Path, results: "list[CaseResult]"
) -> "Scores":
    from train.checkpoints.restoration import load_model
    from train.scoring.evaluate import (
        EvaluationRequest,
        collect_scores,
        evaluation_settings,
    )
    from train.scoring.scores import scores_folder, write_scores

    settings = evaluation_settings(load_model(out / name), manifest, EvaluationRequest())
    scores = collect_scores(results, settings)
    write_scores(scores, scores_folder(out / name, "test"))
    return scores


def _demo_overlays(
    results: "dict[str, list[CaseResult]]", manifest: "Manifest", folder: Path, notify: "Notify"
) -> None:
    """Draw each test case: ground truth in outline, one column per network."""
    from train.pictures.overlays import case_overlay, overlay_paths, write_overlay

    rows = list(zip(*results.values(), strict=True))
    pictures = overlay_paths(folder, (row[0].case.case_id for row in rows))
    for number, row in enumerate(rows, start=1):
        case = row[0].case
        predictions = {
            DEMO_TITLES[name]: result.prediction
            for name, result in zip(results, row, strict=True)
            if result.prediction is not None
        }
        figure = case_overlay(manifest, case, predictions)
        write_overlay(figure, pictures[case.case_id])
        notify("draw overlays", number, len(rows))


def _write_demo_summary(path: Path, scores: "dict[str, Scores]", seed: int, seconds: float) -> None:
    import json

    from manifests.ground.atomic import write_text

    summary = {
        name: {
            "mean_dice": s.mean_dice,
            "cells": {f"{c} in {d}": value for (c, d), value in s.means("dice").items()},
        }
        for name, s in scores.items()
    }
    settings = {"seed": seed, "spacing_mm": DEMO_SPACING_MM, "networks": DEMO_NETWORKS}
    document = {**summary, "seconds": seconds, "settings": settings}
    write_text(path, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
