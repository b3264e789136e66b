"""Tables of scores, as the paper has them: one line per organ and dataset, the mean of all last."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from train.scores import METRICS, Cell, CellName, Metric, Scores

TITLES: Mapping[Metric, str] = {"dice": "Dice", "hausdorff_mm": "HD / mm", "hd95_mm": "HD95 / mm"}
ALL = "all"
NOTHING = "–"  # noqa: RUF001 - the sign for no value in a table


def scores_table(scores: Scores, *, title: str = "") -> Table:
    """One network: mean ± standard deviation of each metric, by class and dataset.

    The last line is the mean over the lines above it, as in the paper's column "All".

    Source: Shi et al. 2021, Tables 3 and 4.
    """
    table = _table(title)
    for heading in (*TITLES.values(), "cases"):
        table.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for cell in scores.cells:
        numbers = [
            _mean_std(metric, getattr(cell, f"{metric}_mean"), getattr(cell, f"{metric}_std"))
            for metric in METRICS
        ]
        name = cell.class_name if cell.class_name != last else ""
        table.add_row(name, cell.dataset, *numbers, str(cell.cases))
        last = cell.class_name
    table.add_section()
    means = [_number(metric, scores.mean(metric)) for metric in METRICS]
    table.add_row(ALL, "", *means, "", style="bold")
    table.caption = _caption(scores.cells)
    return table


def compare_table(
    named: Mapping[str, Scores], *, metric: Metric = "dice", title: str = ""
) -> Table:
    """Several networks side by side: the mean of one metric by class and dataset.

    The best of each line is bold. With two or more networks, the last column is how much better
    the last one is than the first, so that a gain is positive for every metric. The last line is
    the mean over the lines in which every network has a value.

    Args:
        named: Scores by the network's name, in the order of the columns.
        metric: Which metric.
        title: Above the table.

    Source: Shi et al. 2021, Tables 3 and 4.
    """
    means = {name: scores.means(metric) for name, scores in named.items()}
    table = _table(title or f"{TITLES[metric]} by class and dataset")
    for name in named:
        table.add_column(name, justify="right", overflow="fold")
    if len(named) > 1:
        table.add_column("gain", justify="right", no_wrap=True)
    last = ""
    for cell in _cells_in_order(named):
        class_name, dataset = cell
        values = [found.get(cell, math.nan) for found in means.values()]
        name = class_name if class_name != last else ""
        table.add_row(name, dataset, *_side_by_side(metric, values))
        last = class_name
    table.add_section()
    table.add_row(ALL, "", *_side_by_side(metric, _means_over_common(means)))
    return table


def _table(title: str) -> Table:
    table = Table(
        title=title or None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("class", no_wrap=True)
    table.add_column("in", overflow="fold")
    return table


def _cells_in_order(named: Mapping[str, Scores]) -> list[CellName]:
    ids = {
        (s.class_id, s.dataset): (s.class_name, s.dataset)
        for scores in named.values()
        for s in scores.scores
    }
    return [ids[key] for key in sorted(ids)]


def _means_over_common(means: Mapping[str, Mapping[CellName, float]]) -> list[float]:
    common = set[CellName].intersection(*(set(found) for found in means.values()))
    return [
        math.fsum(found[cell] for cell in common) / len(common) if common else math.nan
        for found in means.values()
    ]


def _side_by_side(metric: Metric, values: Sequence[float]) -> list[Text]:
    """The values of a line, the best of them bold, and the gain of the last over the first."""
    sign = 1 if metric == "dice" else -1
    known = [sign * v for v in values if not math.isnan(v)]
    shown = [_number(metric, v) for v in values]
    # bold goes by what is read: equal to the last digit shown is equally good
    best = _number(metric, sign * max(known)) if len(known) > 1 else None
    line = [Text(number, style="bold" if number == best else "") for number in shown]
    if len(values) > 1:
        line.append(_gain(metric, sign * (values[-1] - values[0])))
    return line


def _gain(metric: Metric, gain: float) -> Text:
    number = _number(metric, gain)
    if math.isnan(gain) or float(number) == 0:
        return Text(number.lstrip("-"), style="dim")
    return Text(number if gain < 0 else f"+{number}", style="red" if gain < 0 else "green")


def _number(metric: Metric, value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{3 if metric == 'dice' else 2}f}"


def _mean_std(metric: Metric, mean: float, std: float) -> str:
    number = _number(metric, mean)
    return number if math.isnan(std) else f"{number} ± {_number(metric, std)}"


def _caption(cells: Sequence[Cell]) -> str | None:
    """What a mean does not show: cases where one of truth and prediction, or both, are empty."""
    meanings = {
        "missed": "not found: Dice 0, distances the volume's diagonal",
        "invented": "found where there is none: Dice 0, distances the volume's diagonal",
        "absent": "rightly not found: not scored",
    }
    lines = []
    for outcome, meaning in meanings.items():
        counts = [(getattr(c, outcome), f"{c.class_name} in {c.dataset}") for c in cells]
        words = ", ".join(f"{n} {cell}" for n, cell in counts if n)
        if words:
            lines.append(f"{outcome} ({meaning}): {words}")
    return "\n".join(lines) or None
