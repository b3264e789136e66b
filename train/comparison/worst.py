"""The worst cases of a comparison, and pictures of what went wrong."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from manifests.table.manifest import read_manifest
from train.comparison.alignment import score_frame
from train.scoring.metrics import METRICS
from train.scoring.runs import Run, draw_case


def worst_cases(runs: Sequence[Run], count: int) -> pd.DataFrame:
    """Return the classes of cases that any run scores worst, of the cases that all runs scored.

    The worst has the least Dice of any run, then the greatest HD95.

    Returns:
        One row for each class of a case and run that scored it, the worst first: its rank, and the
        score.
    """
    frame = score_frame([run.scores for run in runs])
    frame["run"] = [runs[number].name for number in frame["run"]]
    shared = frame.groupby("case_id")["run"].transform("nunique") == len(runs)
    ordered = (
        frame.loc[shared]
        .groupby(["case_id", "class"], sort=False, as_index=False)
        .agg(dice=("dice", "min"), hd95_mm=("hd95_mm", "max"), class_id=("class_id", "first"))
        .dropna(subset="dice")  # nobody finds it, nor should
        .sort_values(
            ["dice", "hd95_mm", "case_id", "class_id"], ascending=[True, False, True, True]
        )[["case_id", "class"]]
        .head(count)
    )
    ranked = ordered.assign(rank=range(1, len(ordered) + 1))
    found = frame.merge(ranked).sort_values("rank", kind="stable")
    return found.loc[:, ["rank", "case_id", "class_id", "class", "run", "outcome", *METRICS]]


def draw_worst(
    worst: pd.DataFrame, runs: Sequence[Run], manifest_path: Path | None, folder: Path
) -> Iterator[str]:
    """Draw each where its runs and the truth differ most.

    The manifest is where the runs say it is if no path is given.

    Returns:
        An iterator that draws one picture with each step and says where, or why not.
    """
    from train.pictures.overlays import overlay_paths  # slow to import

    said = (run.scores.settings.get("manifest") for run in runs)
    known = [manifest_path] if manifest_path else [Path(path) for path in said if path]
    path = next((path for path in known if path.exists()), None)
    if path is None:
        yield f"no pictures: no manifest at {known or 'a place that a run knows'}; give --manifest"
        return
    manifest = read_manifest(path)
    shown = worst.drop_duplicates("rank")
    pictures = overlay_paths(folder, shown["case_id"] + "_" + shown["class"])
    for row in shown.to_dict("records"):
        case_id, name, n = row["case_id"], row["class"], row["class_id"]
        picture = pictures[f"{case_id}_{name}"]
        problem = draw_case(case_id, runs, manifest, picture, title=f"{case_id}: {name}", focus=n)
        yield problem or str(picture)
