"""Pictures of a table: typical cases as in Fig. 4, and the worst ones as in Fig. 5."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from manifests.table.manifest import read_manifest
from train.comparison.alignment import score_frame
from train.comparison.worst import draw_worst, worst_cases
from train.experiments.plans.catalogue import TableSpec
from train.experiments.plans.planned_run import TEST, PlannedRun
from train.pictures.overlays import overlay_paths
from train.scoring.runs import Run, draw_case
from train.scoring.scores import Scores, scores_folder

WORST = 3  # as many as Fig. 5 has


def drawable_runs(table: TableSpec, done: Mapping[PlannedRun, Scores]) -> list[Run]:
    """Return the first seed of each row that is one network, under the row's title."""
    titles = {row.trainings[0]: row.title for row in table.rows if len(row.trainings) == 1}
    runs: dict[str, Run] = {}
    for run, scores in done.items():
        title = titles.get(run.training)
        if title is not None and title not in runs:
            runs[title] = Run(title, scores_folder(run.folder, TEST), scores)
    return [runs[row.title] for row in table.rows if row.title in runs]


def draw_table(runs: Sequence[Run], manifest_path: Path, folder: Path) -> Iterator[str]:
    """Draw a typical case of each dataset, and the worst classes of cases, a column for each run.

    Returns:
        An iterator that draws one picture with each step and says where, or why not.

    Source: Shi et al. 2021, Figs. 4 and 5.
    """
    manifest = read_manifest(manifest_path)
    pictures = overlay_paths(folder / "typical", typical_cases(runs))
    for case_id, picture in pictures.items():
        yield draw_case(case_id, runs, manifest, picture) or str(picture)
    yield from draw_worst(worst_cases(runs, WORST), runs, manifest_path, folder / "worst")


def typical_cases(runs: Sequence[Run]) -> list[str]:
    """Return of each dataset the case whose mean Dice over classes and runs is the median."""
    frame = score_frame([run.scores for run in runs])
    scored = frame.loc[frame["outcome"] != "absent"]
    means = scored.groupby(["dataset", "case_id"], as_index=False)["dice"].agg(fmean)
    ordered = means.sort_values(["dice", "case_id"])
    return [cases["case_id"].iloc[len(cases) // 2] for _, cases in ordered.groupby("dataset")]
