"""The command: evaluate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.commands import Filter
from train.console import SOME_FAILED_EXIT_CODE, console, say, track_progress
from train.prediction.commands import CheckpointChoice, Device, Overlap

if TYPE_CHECKING:
    from train.scoring.scores import Scores

app = typer.Typer()

Split = Annotated[str, typer.Option(help="train, validation or test.")]


@app.command("evaluate")
def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN...] [MANIFEST]",
            help="A run's folder, or several, which are averaged (not with --predictions), and a "
            "manifest. A run knows the one that it learnt from.",
        ),
    ],
    *,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Score the label maps in this folder, of any program."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What the values of the label maps mean: a public model (totalsegmentator, "
            "vista3d, amos, ...), or a JSON or TOML file such as nnU-Net's dataset.json. "
            "Default: class ids.",
        ),
    ] = None,
    split: Split = "test",
    where: Filter = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the scores. Default: evaluation/SPLIT in RUN or DIR."
        ),
    ] = None,
    checkpoint: CheckpointChoice = "best",
    device: Device = "auto",
    overlap: Overlap = 0.5,
    tolerance_mm: Annotated[
        float, typer.Option(min=0.0, help="Tolerance of NSD: surfaces this close count as equal.")
    ] = 3.0,
    jobs: Annotated[
        int, typer.Option(min=0, help="Label maps to score in parallel. 0: one per core.")
    ] = 0,
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", help="Count cases in the means that RUN was trained on."),
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also draw each case as a PNG file.")
    ] = False,
) -> None:
    """Score a network or label maps of any program: Dice, distances, NSD by class and dataset."""
    from manifests.ground.machine import usable_cores
    from train.checkpoints.ensembles import split_runs
    from train.checkpoints.run_settings import manifest_of
    from train.scoring.evaluate import EvaluationRequest, collect_scores
    from train.scoring.evaluation import evaluate_folder, evaluate_run
    from train.scoring.model_card import refresh_model_card
    from train.scoring.runs import Run, draw_run
    from train.scoring.scores import write_scores
    from train.scoring.tables import scores_view

    runs, manifests = ([], paths) if predictions else split_runs(paths)
    if bool(runs) != (predictions is None) or len(manifests) > 1 or (predictions and not manifests):
        msg = "expected RUN, RUN MANIFEST, or MANIFEST --predictions DIR"
        raise typer.BadParameter(msg, param_hint="'[RUN...] [MANIFEST]'")
    if len(runs) > 1 and out is None:
        msg = "expected a folder for the scores of several runs together"
        raise typer.BadParameter(msg, param_hint="'--out'")
    manifest = manifests[0] if manifests else manifest_of(runs[0])
    request = EvaluationRequest(
        split=split,
        tolerance_mm=tolerance_mm,
        out=out,
        checkpoint=checkpoint,
        device=device,
        overlap=overlap,
        labels=labels,
        include_seen=include_seen,
        jobs=jobs or usable_cores(),
        where=where,
    )
    if predictions is None:
        evaluation = evaluate_run(runs, manifest, request)
    else:
        evaluation = evaluate_folder(predictions, manifest, request)
    for remark in evaluation.remarks:
        say(f"note: {remark}")
    total = len(evaluation.settings["cases"])
    results = track_progress(evaluation.results, total, "evaluating")
    scores = collect_scores(results, evaluation.settings)
    write_scores(scores, evaluation.folder)
    _tell(scores, evaluation.missing)
    if overlays:
        run = Run(evaluation.name, evaluation.folder, scores)
        for line in draw_run(run, evaluation.manifest):
            say(line)
    console.print(scores_view(scores, title=f"{evaluation.name} on {split}"))
    say(f"scores of each case: {evaluation.folder / 'scores.csv'}")
    for run in runs:
        if problem := refresh_model_card(run):
            say(f"note: {problem}")
    if scores.failures:
        say(f"{len(scores.failures)} of {total} cases failed")
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _tell(scores: "Scores", missing: "Sequence[str]") -> None:
    """Say what was noticed about cases; those that are missing were told before."""
    for case_id, text in scores.notes.items():
        say(f"note  {case_id}: {text}")
    for case_id, text in scores.seen.items():
        say(f"seen  {case_id}: {text}")
    if scores.left_out:
        say(f"{len(scores.left_out)} seen cases are left out of the means; see --include-seen")
    for case_id in (c for c in scores.failures if c not in missing):
        say(f"failed  {case_id}: {scores.failures[case_id]}")
