"""The worst cases of a comparison, and pictures of what went wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import MarginaliaError
from manifests.manifest import Manifest, read_manifest
from train.pictures.overlays import case_overlay, overlay_path, write_overlay
from train.prediction.scan import reason_of
from train.scoring.runs import Run, kept_prediction
from train.scoring.scores import Score


@dataclass(frozen=True)
class Worst:
    """One class of one case, as each run scored it.

    Attributes:
        scores: By the run's name; runs that did not score it are left out.
    """

    scores: dict[str, Score]

    @property
    def first(self) -> Score:
        """The first run's score, for what all of them have in common."""
        return next(iter(self.scores.values()))

    @property
    def order(self) -> tuple[float, float, str, int]:
        """Smallest for the worst: the least Dice of any run, then the greatest HD95."""
        scored = [s for s in self.scores.values() if s.outcome != "absent"]
        return (
            min(s.dice for s in scored),
            -max(s.hd95_mm for s in scored),
            self.first.case_id,
            self.first.class_id,
        )


def worst_cases(runs: Sequence[Run], count: int) -> list[Worst]:
    """The classes of cases that any run scores worst, the worst first."""
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for run in runs:
        for score in run.scores.scores:
            found.setdefault((score.case_id, score.class_name), {})[run.name] = score
    scored = [
        Worst(scores)
        for scores in found.values()
        if any(s.outcome != "absent" for s in scores.values())
    ]
    return sorted(scored, key=lambda worst: worst.order)[:count]


def draw_worst(
    worst: Sequence[Worst], runs: Sequence[Run], manifest_path: Path | None, folder: Path
) -> Iterator[str]:
    """Draw each where its runs and the truth differ most.

    Args:
        worst: What to draw.
        runs: What predicted it.
        manifest_path: The manifest; where the runs say it is if left out.
        folder: Where the pictures go.

    Returns:
        An iterator that draws one with each step and says where, or why not.
    """
    said = (run.scores.settings.get("manifest") for run in runs)
    known = [manifest_path] if manifest_path else [Path(path) for path in said if path]
    path = next((path for path in known if path.exists()), None)
    if path is None:
        yield f"no pictures: no manifest at {known or 'a place that a run knows'}; give --manifest"
        return
    manifest = read_manifest(path)
    for one in worst:
        case_id, name, n = one.first.case_id, one.first.class_name, one.first.class_id
        picture = overlay_path(folder, f"{case_id}_{name}")
        problem = draw_case(case_id, runs, manifest, picture, title=f"{case_id}: {name}", focus=n)
        yield problem or str(picture)


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
