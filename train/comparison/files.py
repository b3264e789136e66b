"""Files of a comparison: a table for programs, tables for papers, and how both were made."""

import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from manifests.ground.atomic import whole_file, write_text
from train.comparison.comparison import Comparison, MetricComparison
from train.comparison.statistics import CONFIDENCE, RESAMPLES
from train.comparison.tables import below_mean, comparison_note, ranks
from train.comparison.worst import WorstCase
from train.scoring.metrics import METRICS, SCALES
from train.scoring.runs import Run
from train.scoring.scores import ALL
from train.scoring.tables import mean_std

_MARKS = {0: ("**", "**"), 1: ("<u>", "</u>")}


def write_comparison(
    comparison: Comparison, runs: Sequence[Run], worst: Sequence[WorstCase], folder: Path
) -> None:
    """Write `comparison.csv`, `.md` and `.json` and `worst.csv`, each as a whole file."""
    for name, rows in {"comparison": _rows(comparison), "worst": _worst_rows(worst)}.items():
        with whole_file(folder / f"{name}.csv") as temporary:
            pd.DataFrame(list(rows)).to_csv(temporary, index=False)
    tables = [_markdown(comparison, compared) for compared in comparison.metrics.values()]
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


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row for each metric, line and run."""
    for metric, compared in comparison.metrics.items():
        for line in (*compared.lines, compared.overall):
            for name, entry in zip(comparison.names, line.entries, strict=True):
                yield {
                    "metric": metric,
                    "class": line.class_name,
                    "dataset": line.dataset,
                    "run": name,
                    "against": comparison.names[compared.reference],
                    "cases": line.cases,
                    "left_out": line.left_out,
                    "mean": entry.mean,
                    "std": entry.std,
                    "mean_low": entry.interval.low,
                    "mean_high": entry.interval.high,
                    "difference": entry.difference,
                    "difference_low": entry.difference_interval.low,
                    "difference_high": entry.difference_interval.high,
                    "p": entry.p,
                    "p_holm": entry.p_holm,
                }


def _worst_rows(worst: Sequence[WorstCase]) -> Iterator[dict[str, Any]]:
    """One row for each class of a case and run, the worst first."""
    for rank, one in enumerate(worst, start=1):
        for name, score in one.scores.items():
            yield {
                "rank": rank,
                "case_id": score.case_id,
                "class": score.class_name,
                "run": name,
                "outcome": score.outcome,
                **{metric: getattr(score, metric) for metric in METRICS},
            }


def _markdown(comparison: Comparison, compared: MetricComparison) -> str:
    """One metric as a Markdown table, with the marks of `comparison_table`."""
    metric = compared.metric
    # of two runs, the one that is not the best needs no mark
    marks = _MARKS if len(comparison.names) > 2 else {0: _MARKS[0]}
    heads = ["class", "in", "cases", *(name.replace("|", r"\|") for name in comparison.names)]
    lines = [
        f"## {SCALES[metric].title}\n",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for line in (*compared.lines, compared.overall):
        cells = []
        for entry, rank in zip(line.entries, ranks(metric, line), strict=True):
            before, after = marks.get(rank, ("", ""))
            below = below_mean(metric, entry)
            mean = f"{before}{mean_std(metric, entry.mean, entry.std)}{after}"
            cells.append(f"{mean}<br>{below}" if below else mean)
        cases = "" if line.class_name == ALL else str(line.cases)
        lines.append(f"| {' | '.join([line.class_name, line.dataset, cases, *cells])} |")
    notes = [f"- {note}" for note in comparison_note(comparison, metric).splitlines()]
    return "\n".join([*lines, "", *notes, ""])
