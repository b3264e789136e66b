"""Tables of several runs, as the paper has them: a line per class and dataset, a column per run."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from train.comparison.comparison import Comparison, Entry, Line, compare
from train.comparison.statistics import CONFIDENCE
from train.comparison.worst import WorstCase
from train.console import FirstThatFits
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL, Scores
from train.scoring.tables import (
    NOTHING,
    broken,
    mean_above_std,
    mean_std,
    new_table,
    number,
)

# from wide to narrow: all of a run in two lines; a line for each number; no intervals
Layout = Literal["wide", "stacked", "means"]
LAYOUTS: tuple[Layout, ...] = ("wide", "stacked", "means")
_NAME_WIDTHS = {"wide": 24, "stacked": 15, "means": 9}


def compare_table(
    named: Mapping[str, Scores], *, metric: Metric = "dice", title: str = ""
) -> FirstThatFits:
    """Several networks side by side in one metric; see `comparison_table`.

    Args:
        named: Scores by the network's name, in the order of the columns.
        metric: Which metric.
        title: Above the table.
    """
    return comparison_view(compare(named, metrics=(metric,)), metric, title=title)


def comparison_view(comparison: Comparison, metric: Metric, *, title: str = "") -> FirstThatFits:
    """The table of `comparison_table` as the screen has room for it."""
    layouts = (comparison_table(comparison, metric, title=title, layout=x) for x in LAYOUTS)
    return FirstThatFits(tuple(layouts))


def comparison_table(
    comparison: Comparison, metric: Metric, *, title: str = "", layout: Layout = "wide"
) -> Table:
    """Runs side by side: mean ± standard deviation of one metric by class and dataset.

    The best of each line is bold and, of three or more, the second underlined. Below a mean stand
    its bootstrap interval and, for every run but the reference, the corrected p-value of the
    signed-rank test against it. Of two runs, the last column is how much better the second one is,
    so that a gain is positive for every metric. The last line is the mean over the lines in which
    every run has a value.

    Source: Shi et al. 2021, Tables 3, 4 and 7.
    """
    compared = comparison.metrics[metric]
    table = new_table(title or f"{SCALES[metric].title} by class and dataset")
    table.add_column("cases", justify="right")
    for name in comparison.names:
        table.add_column(_heading(name, layout), justify="right", overflow="fold")
    if len(comparison.names) == 2:
        table.add_column("gain", justify="right", no_wrap=True)
    last = ""
    for line in compared.lines:
        name = line.class_name if line.class_name != last else ""
        name = name if layout == "wide" else broken(name)
        table.add_row(name, line.dataset, str(line.cases), *_side_by_side(metric, line, layout))
        last = line.class_name
    table.add_section()
    table.add_row(ALL, "", "", *_side_by_side(metric, compared.overall, layout))
    left_out = ["no intervals: the files of --out have them, as has a wider screen"]
    notes = [*(left_out if layout == "means" else []), comparison_note(comparison, metric)]
    table.caption = escape("\n".join(notes))
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


def worst_view(worst: Sequence[WorstCase], names: Sequence[str]) -> FirstThatFits:
    """The table of `worst_table` as the screen has room for it."""
    return FirstThatFits((worst_table(worst, names), worst_table(worst, names, stacked=True)))


def worst_table(
    worst: Sequence[WorstCase], names: Sequence[str], *, stacked: bool = False
) -> Table:
    """The worst classes of cases, with each run's Dice and HD95, below it if stacked."""
    table = new_table("worst cases: Dice, HD95 / mm", first="case", second="class")
    for name in names:
        heading = _heading(name, "means" if stacked else "wide")
        table.add_column(heading, justify="right", overflow="fold")
    for one in worst:
        shown = []
        for name in names:
            score = one.scores.get(name)
            if score is None or score.outcome == "absent":
                shown.append(score.outcome if score else NOTHING)
            else:
                values = number("dice", score.dice), number("hd95_mm", score.hd95_mm)
                shown.append(("\n" if stacked else "  ").join(values))
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


def _heading(name: str, layout: Layout) -> str:
    """A run's name, folded so that it takes no more room than the numbers below it."""
    return escape("\n".join(textwrap.wrap(name, _NAME_WIDTHS[layout])))


def _side_by_side(metric: Metric, line: Line, layout: Layout) -> list[Text]:
    """The runs of a line, the best bold and the second underlined, and the gain of two."""
    styles = {0: "bold", 1: "underline"} if len(line.entries) > 2 else {0: "bold"}
    texts = []
    for entry, rank in zip(line.entries, ranks(metric, line), strict=True):
        mean, *below = _cell_lines(metric, entry, layout)
        text = Text(mean, style=styles.get(rank, ""))
        texts.append(Text("\n").join([text, *(Text(line, style="dim") for line in below)]))
    if len(texts) == 2:
        first, second = (SCALES[metric].sign * entry.mean for entry in line.entries)
        texts.append(_gain(metric, second - first))
    return texts


def below_mean(metric: Metric, entry: Entry) -> str:
    """The interval and the corrected p-value of a run in words; empty if there is neither."""
    return " ".join([*_interval_words(metric, entry), *_p_words(entry)])


def _cell_lines(metric: Metric, entry: Entry, layout: Layout) -> Iterator[str]:
    if layout == "wide":
        yield mean_std(metric, entry.mean, entry.std)
        yield from filter(None, [below_mean(metric, entry)])
        return
    yield from mean_above_std(metric, entry.mean, entry.std)
    if layout == "stacked":
        yield from _interval_words(metric, entry)
    yield from _p_words(entry)


def _interval_words(metric: Metric, entry: Entry) -> list[str]:
    if math.isnan(entry.interval.low):
        return []
    low, high = (number(metric, value) for value in entry.interval)
    return [f"[{low}, {high}]"]


def _p_words(entry: Entry) -> list[str]:
    return [] if math.isnan(entry.p_holm) else [f"p {entry.p_holm:.2g}"]


def _gain(metric: Metric, gain: float) -> Text:
    text = number(metric, gain)
    if math.isnan(gain) or float(text) == 0:
        return Text(text.lstrip("-"), style="dim")
    return Text(text if gain < 0 else f"+{text}", style="red" if gain < 0 else "green")
