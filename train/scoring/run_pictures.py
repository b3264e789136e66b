"""Pictures of runs: what they have kept of a case, drawn beside what the annotator outlined."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from manifests.ground.errors import MarginaliaError
from manifests.table.manifest import Manifest
from train.pictures.overlays import case_overlay, overlay_path, write_overlay
from train.prediction.scan import reason_of
from train.scoring.runs import Run, kept_prediction


def draw_kept(run: Run, manifest: Manifest) -> Iterator[str]:
    """Draw each case that a run has kept, and say for which of them it failed."""
    for case_id in run.scores.predictions:
        picture = overlay_path(run.folder / "overlays", case_id)
        if problem := draw_case(case_id, [run], manifest, picture):
            yield problem


def draw_case(
    case_id: str,
    runs: Sequence[Run],
    manifest: Manifest,
    path: Path,
    *,
    title: str = "",
    focus: int | None = None,
) -> str:
    """Draw what runs have kept of a case; returns why there is no picture, empty if there is."""
    try:
        case = manifest.case(case_id)
        kept = {run.name: kept_prediction(run, case) for run in runs}
        shown = {name: classes for name, classes in kept.items() if classes is not None}
        if not shown:
            return f"no picture  {case_id}: no run has kept its label map"
        write_overlay(case_overlay(manifest, case, shown, title=title, focus=focus), path)
    except (MarginaliaError, RuntimeError, OSError, ValueError, LookupError) as error:
        return f"no picture  {case_id}: {reason_of(error)}"
    return ""
