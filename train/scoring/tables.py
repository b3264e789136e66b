"""Tables of one network's scores: a line per class and dataset, the mean of all last."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from manifests.views.table_style import RULED, add_row, folded, new_table, right, unbroken
from train.console import FirstThatFits
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL, Cell, Scores

NOTHING = "–"  # noqa: RUF001 - the sign for no value in a table
# A screen has no room for all; summary.csv has, and IoU follows from Dice.
SHOWN: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm", "nsd")

_MEANINGS = {
    "missed": "not found: Dice and NSD 0, distances the volume's diagonal",
    "invented": "found where there is none: Dice and NSD 0, distances the volume's diagonal",
    "absent": "rightly not found: not scored",
}


def scores_view(scores: Scores, *, title: str = "") -> FirstThatFits:
    """Return the table of `scores_table`, whose deviations stand below on a narrow screen."""
    layouts = (scores_table(scores, title=title, stacked=stacked) for stacked in (False, True))
    return FirstThatFits(tuple(layouts))


def scores_table(scores: Scores, *, title: str = "", stacked: bool = False) -> Table:
    """Return mean ± standard deviation of the main metrics, by class and dataset.

    The last line is the mean over the lines above it, as in the paper's column "All".

    Source: Shi et al. 2021, Tables 3 and 4.
    """
    headings = (*(SCALES[metric].title for metric in SHOWN), "cases")
    columns = [*unbroken("class"), *folded("in"), *right(*headings)]
    table = new_table(title, columns, look=RULED, caption=_caption(scores.cells))
    last = ""
    for cell in scores.cells:
        numbers = [_mean_and_std(cell, metric, stacked=stacked) for metric in SHOWN]
        name = cell.class_name if cell.class_name != last else ""
        name = Text(broken(name) if stacked else name)
        add_row(table, name, cell.dataset, *numbers, cell.cases)
        last = cell.class_name
    table.add_section()
    means = [number(metric, scores.mean(metric)) for metric in SHOWN]
    add_row(table, ALL, "", *means, "", style="bold")
    return table


def _mean_and_std(cell: Cell, metric: Metric, *, stacked: bool) -> Text:
    mean, std = cell.mean[metric], cell.std[metric]
    lines = mean_above_std(metric, mean, std) if stacked else [mean_std(metric, mean, std)]
    return Text("\n".join(lines))


def number(metric: Metric, value: float) -> str:
    """Return a value with the metric's decimals, or the sign for no value."""
    return NOTHING if math.isnan(value) else f"{value:.{SCALES[metric].digits}f}"


def mean_std(metric: Metric, mean: float, std: float) -> str:
    """Return a mean and, if there is one, its standard deviation."""
    shown = number(metric, mean)
    return shown if math.isnan(std) else f"{shown} ± {number(metric, std)}"


def mean_above_std(metric: Metric, mean: float, std: float) -> list[str]:
    """Return a mean and, if there is one, its standard deviation, a line each."""
    return [number(metric, mean), *([] if math.isnan(std) else [f"±{number(metric, std)}"])]


def broken(class_name: str) -> str:
    """Return the name of merged classes, a line for each."""
    return class_name.replace("+", "+\n")


def _caption(cells: Sequence[Cell]) -> str:
    """Say what a mean does not show: cases where truth or prediction, or both, are empty."""
    lines = []
    for outcome, meaning in _MEANINGS.items():
        counts = [(getattr(c, outcome), f"{c.class_name} in {c.dataset}") for c in cells]
        words = ", ".join(f"{n} {cell}" for n, cell in counts if n)
        if words:
            lines.append(f"{outcome} ({meaning}): {words}")
    return "\n".join(lines)
