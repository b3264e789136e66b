"""Tables of scores, as the paper has them: one line per organ and dataset, the mean of all last."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from train.comparison.comparison import ALL, Comparison, Entry, Line, compare
from train.comparison.statistics import CONFIDENCE
from train.comparison.worst import Worst
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import Cell, Scores

NOTHING = "–"  # noqa: RUF001 - the sign for no value in a table
# A screen has no room for all; summary.csv has, and IoU follows from Dice.
SHOWN: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm", "nsd")


def scores_table(scores: Scores, *, title: str = "") -> Table:
    """One network: mean ± standard deviation of the main metrics, by class and dataset.

    The last line is the mean over the lines above it, as in the paper's column "All".

    Source: Shi et al. 2021, Tables 3 and 4.
    """
    table = _table(title)
    for heading in (*(SCALES[metric].title for metric in SHOWN), "cases"):
        table.add_column(heading, justify="right")
    last = ""
    for cell in scores.cells:
        numbers = [mean_std(metric, cell.mean[metric], cell.std[metric]) for metric in SHOWN]
        name = cell.class_name if cell.class_name != last else ""
        table.add_row(name, cell.dataset, *numbers, str(cell.cases))
        last = cell.class_name
    table.add_section()
    means = [number(metric, scores.mean(metric)) for metric in SHOWN]
    table.add_row(ALL, "", *means, "", style="bold")
    table.caption = _caption(scores.cells)
    return table


def compare_table(
    named: Mapping[str, Scores], *, metric: Metric = "dice", title: str = ""
) -> Table:
    """Several networks side by side in one metric; see `comparison_table`.

    Args:
        named: Scores by the network's name, in the order of the columns.
        metric: Which metric.
        title: Above the table.
    """
    return comparison_table(compare(named, metrics=(metric,)), metric, title=title)


def comparison_table(comparison: Comparison, metric: Metric, *, title: str = "") -> Table:
    """Runs side by side: mean ± standard deviation of one metric by class and dataset.

    The best of each line is bold and, of three or more, the second underlined. Below a mean stand
    its bootstrap interval and, for every run but the reference, the corrected p-value of the
    signed-rank test against it. Of two runs, the last column is how much better the second one is,
    so that a gain is positive for every metric. The last line is the mean over the lines in which
    every run has a value.

    Source: Shi et al. 2021, Tables 3, 4 and 7.
    """
    compared = comparison.metrics[metric]
    table = _table(title or f"{SCALES[metric].title} by class and dataset")
    table.add_column("cases", justify="right")
    for name in comparison.names:
        table.add_column(escape(name), justify="right", overflow="fold")
    if len(comparison.names) == 2:
        table.add_column("gain", justify="right", no_wrap=True)
    last = ""
    for line in compared.lines:
        name = line.class_name if line.class_name != last else ""
        table.add_row(name, line.dataset, str(line.cases), *_side_by_side(metric, line))
        last = line.class_name
    table.add_section()
    table.add_row(ALL, "", "", *_side_by_side(metric, compared.overall))
    table.caption = escape(comparison_note(comparison, metric))
    return table


def comparison_note(comparison: Comparison, metric: Metric) -> str:
    """What is in brackets, what p is, and what a reader must know before trusting them."""
    compared = comparison.metrics[metric]
    reference = comparison.names[compared.reference]
    interval = f"[ ]: {CONFIDENCE:.0%} bootstrap interval of the mean over cases"
    test = (
        f"p: Wilcoxon signed-rank test against {reference}, case by case, corrected for all lines "
        f"(Holm)"
    )
    left_out = ", ".join(
        f"{line.left_out} {line.class_name} in {line.dataset}"
        for line in compared.lines
        if line.left_out
    )
    return "\n".join(
        [
            "; ".join([interval, test] if len(comparison.names) > 1 else [interval]),
            *([f"left out, not scored by every run: {left_out}"] if left_out else []),
            *comparison.warnings,
        ]
    )


def worst_table(worst: Sequence[Worst], names: Sequence[str]) -> Table:
    """The worst classes of cases, with each run's Dice and HD95."""
    table = _table("worst cases: Dice, HD95 / mm", first="case", second="class")
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold")
    for one in worst:
        shown = []
        for name in names:
            score = one.scores.get(name)
            if score is None or score.outcome == "absent":
                shown.append(score.outcome if score else NOTHING)
            else:
                values = number("dice", score.dice), number("hd95_mm", score.hd95_mm)
                shown.append("  ".join(values))
        table.add_row(escape(one.first.case_id), one.first.class_name, *shown)
    return table


def ranks(metric: Metric, line: Line) -> list[int]:
    """0 for the best runs of a line, 1 for the second best and so on; -1 without a value.

    Equal to the last digit that is shown is equally good. One run alone has no rank.
    """
    shown = [number(metric, entry.mean) for entry in line.entries]
    known = sorted({float(s) for s in shown if s != NOTHING}, reverse=SCALES[metric].sign > 0)
    if sum(s != NOTHING for s in shown) < 2:
        return [-1] * len(shown)
    return [known.index(float(s)) if s != NOTHING else -1 for s in shown]


def _table(title: str, *, first: str = "class", second: str = "in") -> Table:
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


def _side_by_side(metric: Metric, line: Line) -> list[Text]:
    """The runs of a line, the best bold and the second underlined, and the gain of two."""
    styles = {0: "bold", 1: "underline"} if len(line.entries) > 2 else {0: "bold"}
    texts = []
    for entry, rank in zip(line.entries, ranks(metric, line), strict=True):
        text = Text(mean_std(metric, entry.mean, entry.std), style=styles.get(rank, ""))
        if below := below_mean(metric, entry):
            text = Text.assemble(text, "\n", (below, "dim"))
        texts.append(text)
    if len(texts) == 2:
        first, second = (SCALES[metric].sign * entry.mean for entry in line.entries)
        texts.append(_gain(metric, second - first))
    return texts


def below_mean(metric: Metric, entry: Entry) -> str:
    """The interval and the corrected p-value of a run in words; empty if there is neither."""
    words = []
    if not math.isnan(entry.interval.low):
        low, high = (number(metric, value) for value in entry.interval)
        words.append(f"[{low}, {high}]")
    if not math.isnan(entry.p_holm):
        words.append(f"p {entry.p_holm:.2g}")
    return " ".join(words)


def _gain(metric: Metric, gain: float) -> Text:
    text = number(metric, gain)
    if math.isnan(gain) or float(text) == 0:
        return Text(text.lstrip("-"), style="dim")
    return Text(text if gain < 0 else f"+{text}", style="red" if gain < 0 else "green")


def number(metric: Metric, value: float) -> str:
    """A value with the metric's decimals, or the sign for no value."""
    return NOTHING if math.isnan(value) else f"{value:.{SCALES[metric].digits}f}"


def mean_std(metric: Metric, mean: float, std: float) -> str:
    """A mean and, if there is one, its standard deviation."""
    shown = number(metric, mean)
    return shown if math.isnan(std) else f"{shown} ± {number(metric, std)}"


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
