"""Files of a comparison: a table for programs, tables for papers, and how both were made."""

import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from manifests.ground.atomic import write_text
from manifests.views.table_style import markdown_table
from train.comparison.comparison import Comparison
from train.comparison.statistics import CONFIDENCE, RESAMPLES
from train.comparison.tables import RANK_MARKDOWN, below_mean, comparison_notes, line_ranks
from train.scoring.metrics import SCALES, Metric
from train.scoring.runs import Run
from train.scoring.scores import ALL
from train.scoring.tables import mean_std


def write_comparison(
    comparison: Comparison, runs: Sequence[Run], worst: pd.DataFrame, folder: Path
) -> None:
    """Write `comparison.csv`, `.md` and `.json` and `worst.csv`, each as a whole file."""
    worst = worst.drop(columns="class_id")
    write_text(folder / "comparison.csv", comparison.table.to_csv(index=False))
    write_text(folder / "worst.csv", worst.to_csv(index=False))
    tables = [_markdown(comparison, metric) for metric in comparison.metrics]
    write_text(folder / "comparison.md", "\n".join(tables))
    settings = {
        "runs": {run.name: {"folder": str(run.folder), "stamp": run.scores.stamp} for run in runs},
        "warnings": list(comparison.warnings),
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "seed": comparison.seed,
        "software_version": version("marginalia"),
    }
    write_text(folder / "comparison.json", json.dumps(settings, indent=2) + "\n")


def _markdown(comparison: Comparison, metric: Metric) -> str:
    """One metric as a Markdown table, with the marks of `comparison_table`."""
    table = markdown_table(
        ["class", "in", "cases", *comparison.names], _markdown_rows(comparison, metric)
    )
    notes = [f"- {note}" for note in comparison_notes(comparison, metric)]
    return "\n".join([f"## {SCALES[metric].title}", "", *table, "", *notes, ""])


def _markdown_rows(comparison: Comparison, metric: Metric) -> Iterator[list[str]]:
    for line in comparison.lines(metric):
        name, dataset, cases = (line[0][key] for key in ("class", "dataset", "cases"))
        row = [name, dataset, "" if name == ALL else str(cases)]
        for entry, rank in zip(line, line_ranks(metric, line), strict=True):
            mean = mean_std(metric, entry["mean"], entry["std"])
            below = " ".join(below_mean(metric, entry))
            row.append(
                "<br>".join(filter(None, [RANK_MARKDOWN.get(rank, "{}").format(mean), below]))
            )
        yield row
