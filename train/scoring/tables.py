"""Tables of one network's scores: a line per class and dataset, the mean of all last."""

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from train.console import FirstThatFits
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL, Cell, Scores

NOTHING = "–"  # noqa: RUF001 - the sign for no value in a table
# A screen has no room for all; summary.csv has, and IoU follows from Dice.
SHOWN: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm", "nsd")


def scores_view(scores: Scores, *, title: str = "") -> FirstThatFits:
    """The table of `scores_table` as the screen has room for it."""
    layouts = (scores_table(scores, title=title, stacked=stacked) for stacked in (False, True))
    return FirstThatFits(tuple(layouts))


def scores_table(scores: Scores, *, title: str = "", stacked: bool = False) -> Table:
    """One network: mean ± standard deviation of the main metrics, by class and dataset.

    The last line is the mean over the lines above it, as in the paper's column "All".

    Args:
        scores: The network's.
        title: Above the table.
        stacked: Deviations below their means, for a narrow screen.

    Source: Shi et al. 2021, Tables 3 and 4.
    """
    table = new_table(title)
    for heading in (*(SCALES[metric].title for metric in SHOWN), "cases"):
        table.add_column(heading, justify="right")
    last = ""
    for cell in scores.cells:
        numbers = [_mean_and_std(cell, metric, stacked=stacked) for metric in SHOWN]
        name = cell.class_name if cell.class_name != last else ""
        table.add_row(broken(name) if stacked else name, cell.dataset, *numbers, str(cell.cases))
        last = cell.class_name
    table.add_section()
    means = [number(metric, scores.mean(metric)) for metric in SHOWN]
    table.add_row(ALL, "", *means, "", style="bold")
    table.caption = _caption(scores.cells)
    return table


def _mean_and_std(cell: Cell, metric: Metric, *, stacked: bool) -> str:
    mean, std = cell.mean[metric], cell.std[metric]
    return "\n".join(mean_above_std(metric, mean, std)) if stacked else mean_std(metric, mean, std)


def new_table(title: str, *, first: str = "class", second: str = "in") -> Table:
    """A table without lines, whose first two columns say what a line is about."""
    table = Table(
        title=title or None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column(first, no_wrap=True)
    table.add_column(second, overflow="fold")
    return table


def number(metric: Metric, value: float) -> str:
    """A value with the metric's decimals, or the sign for no value."""
    return NOTHING if math.isnan(value) else f"{value:.{SCALES[metric].digits}f}"


def mean_std(metric: Metric, mean: float, std: float) -> str:
    """A mean and, if there is one, its standard deviation."""
    shown = number(metric, mean)
    return shown if math.isnan(std) else f"{shown} ± {number(metric, std)}"


def mean_above_std(metric: Metric, mean: float, std: float) -> list[str]:
    """A mean and, if there is one, its standard deviation, a line each."""
    return [number(metric, mean), *([] if math.isnan(std) else [f"±{number(metric, std)}"])]


def broken(class_name: str) -> str:
    """The name of merged classes, a line for each."""
    return class_name.replace("+", "+\n")


def _caption(cells: Sequence[Cell]) -> str | None:
    """What a mean does not show: cases where one of truth and prediction, or both, are empty."""
    meanings = {
        "missed": "not found: Dice and NSD 0, distances the volume's diagonal",
        "invented": "found where there is none: Dice and NSD 0, distances the volume's diagonal",
        "absent": "rightly not found: not scored",
    }
    lines = []
    for outcome, meaning in meanings.items():
        counts = [(getattr(c, outcome), f"{c.class_name} in {c.dataset}") for c in cells]
        words = ", ".join(f"{n} {cell}" for n, cell in counts if n)
        if words:
            lines.append(f"{outcome} ({meaning}): {words}")
    return "\n".join(lines) or None
