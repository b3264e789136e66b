"""Tables of several runs, as the paper has them: a line per class and dataset, a column per run."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import pandas as pd
from rich.table import Table
from rich.text import Text

from manifests.views.table_style import RULED, add_row, folded, new_table, right, unbroken
from train.comparison.comparison import Comparison, Entry, compare
from train.comparison.statistics import CONFIDENCE
from train.console import FirstThatFits
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL, Scores
from train.scoring.tables import NOTHING, broken, mean_above_std, mean_std, number

# from wide to narrow: all of a run in two lines; a line for each number; no intervals; no names
Layout = Literal["wide", "stacked", "means", "numbered"]
LAYOUTS: tuple[Layout, ...] = ("wide", "stacked", "means", "numbered")
WITH_INTERVALS: tuple[Layout, ...] = ("wide", "stacked")
RANK_STYLES = MappingProxyType({0: "bold", 1: "underline"})
RANK_MARKDOWN = MappingProxyType({0: "**{}**", 1: "<u>{}</u>"})
_NAME_WIDTHS = {"wide": 24, "stacked": 15, "means": 9, "numbered": 9}
_WORD = re.compile(r".+?[-_. ]+|.+")  # of a run's name


def compare_table(
    named: Mapping[str, Scores], *, metric: Metric = "dice", title: str = ""
) -> FirstThatFits:
    """Return several networks, in the order given, side by side; see `comparison_table`."""
    return comparison_view(compare(named, metrics=(metric,)), metric, title=title)


def comparison_view(comparison: Comparison, metric: Metric, *, title: str = "") -> FirstThatFits:
    """Return the table of `comparison_table` as the screen has room for it."""
    layouts = (comparison_table(comparison, metric, title=title, layout=x) for x in LAYOUTS)
    return FirstThatFits(tuple(layouts))


def comparison_table(
    comparison: Comparison, metric: Metric, *, title: str = "", layout: Layout = "wide"
) -> Table:
    """Return runs side by side: mean ± standard deviation of one metric by class and dataset.

    The best of each line is bold and, of three or more, the second underlined. Below a mean stand
    its bootstrap interval and, for every run but the reference, the corrected p-value of the
    signed-rank test against it. Of two runs, the last column is how much better the second one is,
    so that a gain is positive for every metric. The last line is the mean over the lines in which
    every run has a value.

    Source: Shi et al. 2021, Tables 3, 4 and 7.
    """
    columns = [
        *unbroken("class"),
        *folded("in"),
        *right("cases"),
        *folded(*_headings(comparison.names, layout), justify="right"),
    ]
    if len(comparison.names) == 2:
        columns += unbroken("gain", justify="right")
    notes = comparison_notes(comparison, metric)
    if layout not in WITH_INTERVALS:
        notes.insert(0, "no intervals: the files of --out have them, as has a wider screen")
    if layout == "numbered":
        numbered = (f"({n}) {name}" for n, name in enumerate(comparison.names, start=1))
        notes.insert(0, "; ".join(numbered))
    title = title or f"{SCALES[metric].title} by class and dataset"
    table = new_table(title, columns, look=RULED, caption="\n".join(notes))
    table.leading = int(layout != "wide")  # a line has so many that it is lost among others
    *lines, overall = comparison.lines(metric)
    last = ""
    for line in lines:
        name, dataset, cases = (line[0][key] for key in ("class", "dataset", "cases"))
        shown = name if name != last else ""
        shown = Text(shown if layout == "wide" else broken(shown))
        add_row(table, shown, dataset, cases, *_side_by_side(metric, line, layout))
        last = name
    table.add_section()
    add_row(table, ALL, "", "", *_side_by_side(metric, overall, layout))
    return table


def comparison_notes(comparison: Comparison, metric: Metric) -> list[str]:
    """Return what is in brackets, what p is, and what a reader must know before trusting them."""
    *lines, _ = comparison.lines(metric)
    interval = f"[ ]: {CONFIDENCE:.0%} bootstrap interval of the mean over cases"
    test = (
        f"p: Wilcoxon signed-rank test against {lines[0][0]['against']}, case by case, corrected "
        f"for all lines (Holm)"
    )
    left_out = ", ".join(
        f"{first['left_out']} {first['class']} in {first['dataset']}"
        for first, *_ in lines
        if first["left_out"]
    )
    return [
        "; ".join([interval, test] if len(comparison.names) > 1 else [interval]),
        *([f"left out, not scored by every run: {left_out}"] if left_out else []),
        *comparison.warnings,
    ]


def worst_view(worst: pd.DataFrame, names: Sequence[str]) -> FirstThatFits:
    """Return the table of `worst_table` as the screen has room for it."""
    return FirstThatFits((worst_table(worst, names), worst_table(worst, names, stacked=True)))


def worst_table(worst: pd.DataFrame, names: Sequence[str], *, stacked: bool = False) -> Table:
    """Return the worst classes of cases, with each run's Dice and HD95, below it if stacked."""
    headings = _headings(names, "means" if stacked else "wide")
    columns = [*unbroken("case"), *folded("class"), *folded(*headings, justify="right")]
    table = new_table("worst cases: Dice, HD95 / mm", columns, look=RULED)
    for _, rows in worst.groupby("rank"):
        scores = {row["run"]: row for row in rows.to_dict("records")}
        first = next(iter(scores.values()))
        shown = (_dice_and_hd95(scores.get(name), "\n" if stacked else "  ") for name in names)
        add_row(table, first["case_id"], first["class"], *shown)
    return table


def _dice_and_hd95(score: Entry | None, between: str) -> Text:
    if score is None or score["outcome"] == "absent":
        return Text(score["outcome"] if score else NOTHING)
    values = number("dice", score["dice"]), number("hd95_mm", score["hd95_mm"])
    return Text(between.join(values))


def ranks(metric: Metric, means: Sequence[float]) -> list[int]:
    """Return 0 for the best means, 1 for the second best and so on; -1 without a value.

    Equal to the last digit that is shown is equally good. One mean alone has no rank.
    """
    shown = [number(metric, mean) for mean in means]
    known = sorted({float(s) for s in shown if s != NOTHING}, reverse=SCALES[metric].sign > 0)
    if sum(s != NOTHING for s in shown) < 2:
        return [-1] * len(shown)
    return [known.index(float(s)) if s != NOTHING else -1 for s in shown]


def line_ranks(metric: Metric, line: Sequence[Entry]) -> list[int]:
    """Return the ranks of a line's means; of two runs, the second best has none."""
    found = ranks(metric, [entry["mean"] for entry in line])
    return found if len(line) > 2 else [rank if rank < 1 else -1 for rank in found]


def _headings(names: Sequence[str], layout: Layout) -> list[str]:
    """The runs' names, or their numbers, folded to take no more room than the figures below."""
    if layout == "numbered":
        return [f"({n})" for n in range(1, len(names) + 1)]
    return [_folded(name, _NAME_WIDTHS[layout]) for name in names]


def _folded(name: str, width: int) -> str:
    """Break a name behind its words, and within one only if it is too long for a line."""
    lines = [""]
    for word in _WORD.findall(name):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width))


def _side_by_side(metric: Metric, line: Sequence[Entry], layout: Layout) -> list[Text]:
    """The runs of a line, the best bold and the second underlined, and the gain of two."""
    texts = []
    for entry, rank in zip(line, line_ranks(metric, line), strict=True):
        mean, *below = _cell_lines(metric, entry, layout)
        text = Text(mean, style=RANK_STYLES.get(rank, ""))
        texts.append(Text("\n").join([text, *(Text(line, style="dim") for line in below)]))
    if len(texts) == 2:
        first, second = (SCALES[metric].sign * entry["mean"] for entry in line)
        texts.append(_gain(metric, second - first))
    return texts


def below_mean(metric: Metric, entry: Entry) -> list[str]:
    """Return the interval and the corrected p-value of a run in words, those that there are."""
    return [*interval_words(metric, entry), *p_words(entry)]


def _cell_lines(metric: Metric, entry: Entry, layout: Layout) -> list[str]:
    mean, std = entry["mean"], entry["std"]
    if layout == "wide":
        return [mean_std(metric, mean, std), *filter(None, [" ".join(below_mean(metric, entry))])]
    below = below_mean(metric, entry) if layout in WITH_INTERVALS else p_words(entry)
    return [*mean_above_std(metric, mean, std), *below]


def interval_words(metric: Metric, entry: Entry) -> list[str]:
    """Return the bootstrap interval in brackets, if there is one."""
    if math.isnan(entry["mean_low"]):
        return []
    return [f"[{number(metric, entry['mean_low'])}, {number(metric, entry['mean_high'])}]"]


def p_words(entry: Entry) -> list[str]:
    """Return the corrected p-value, if there is one."""
    return [] if math.isnan(entry["p_holm"]) else [f"p {entry['p_holm']:.2g}"]


def _gain(metric: Metric, gain: float) -> Text:
    text = number(metric, gain)
    if math.isnan(gain) or float(text) == 0:
        return Text(text.lstrip("-"), style="dim")
    return Text(text if gain < 0 else f"+{text}", style="red" if gain < 0 else "green")
