"""The worst cases of a comparison, and pictures of what went wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.table.manifest import read_manifest
from train.pictures.overlays import overlay_path
from train.scoring.runs import Run, draw_case
from train.scoring.scores import Score


@dataclass(frozen=True)
class WorstCase:
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


def worst_cases(runs: Sequence[Run], count: int) -> list[WorstCase]:
    """The classes of cases that any run scores worst, the worst first; of cases that all scored."""
    shared = set[str].intersection(*({s.case_id for s in run.scores.scores} for run in runs))
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for run in runs:
        for score in (s for s in run.scores.scores if s.case_id in shared):
            found.setdefault((score.case_id, score.class_name), {})[run.name] = score
    scored = [
        WorstCase(scores)
        for scores in found.values()
        if any(s.outcome != "absent" for s in scores.values())
    ]
    return sorted(scored, key=lambda worst: worst.order)[:count]


def draw_worst(
    worst: Sequence[WorstCase], runs: Sequence[Run], manifest_path: Path | None, folder: Path
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
