"""A results table on the screen: our mean, its deviation and its p-value above the paper's mean."""

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from train.experiments.tables.results_table import (
    EVERYTHING,
    MetricResults,
    ResultsCell,
    ResultsTable,
)
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL
from train.scoring.tables import NOTHING, number

POOLED = "p, pooled"
_STYLES = {0: "bold", 1: "underline"}


def shown_columns(results: MetricResults) -> tuple[str, ...]:
    """The columns for people: what the training cases annotate, and the means."""
    return tuple(column for column in results.columns if column not in results.unlabelled)


def results_view(table: ResultsTable, metric: Metric, *, means_only: bool = False) -> Table:
    """One metric of a table.

    Args:
        table: The table.
        metric: The metric.
        means_only: Leave out the single cells, for a narrow screen, and say so.

    Source: Shi et al. 2021, Tables 3 to 8, 10 and 11.
    """
    results = table.metrics[metric]
    view = Table(
        title=f"{table.title}: {SCALES[metric].title}",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_lines=False,
    )
    columns, notes = shown_columns(results), notes_of(table)
    if means_only:
        columns = tuple(column for column in columns if column in (ALL, EVERYTHING))
        notes = ["means only: table.md has every column, as has a wider screen", *notes]
    view.add_column("", overflow="fold")
    for heading in headings(columns):
        view.add_column(escape(heading.replace(" in ", "\nin ")), justify="right", overflow="fold")
    view.add_column(POOLED.replace(" ", "\n"), justify="right", overflow="fold")
    for title in table.rows:
        cells = (_cell(metric, results.cells[title, c]) for c in columns)
        view.add_row(escape(title), *cells, pooled_words(results, title))
    view.caption = "\n".join(notes)
    return view


def notes_of(table: ResultsTable) -> list[str]:
    """What a reader must know, a line each."""
    counts = sorted({len(found) for found in table.seeds.values()})
    lines = [
        "± standard deviation over cases, each the mean over its seeds; paper: as printed there",
        f"seeds: {', '.join(map(str, counts))} a row; p: against {table.against}",
        f"{POOLED}: one test for each row, over all cases, each the mean over its classes",
        *(f"note: {note}" for note in table.notes),
    ]
    if table.missing:
        lines.append(f"not run yet: {', '.join(table.missing)}")
    return lines


def _cell(metric: Metric, cell: ResultsCell) -> Text:
    entry = cell.entry
    lines: list[tuple[str, str]] = [(number(metric, entry.mean), _STYLES.get(cell.rank, ""))]
    if not math.isnan(entry.std):
        lines.append((f"±{number(metric, entry.std)}", "dim"))
    if not math.isnan(entry.p_holm):
        lines.append((f"p {entry.p_holm:.2g}", "dim"))
    if cell.paper:
        lines.append((f"paper {number(metric, cell.paper[0])}", "dim cyan"))
    return Text("\n").join(Text(text, style=style) for text, style in lines)


def own_words(metric: Metric, cell: ResultsCell) -> str:
    """Our mean and its standard deviation over cases."""
    entry = cell.entry
    shown = number(metric, entry.mean)
    return shown if math.isnan(entry.std) else f"{shown} ± {number(metric, entry.std)}"


def below_words(metric: Metric, cell: ResultsCell) -> list[str]:
    """Interval, spread over seeds and p-value, those that there are."""
    entry, words = cell.entry, list[str]()
    if not math.isnan(entry.interval.low):
        words.append(f"[{', '.join(number(metric, v) for v in entry.interval)}]")
    if not math.isnan(cell.seed_std):
        words.append(f"seeds ± {number(metric, cell.seed_std)}")
    if not math.isnan(entry.p_holm):
        words.append(f"p {entry.p_holm:.2g}")
    return words


def pooled_words(results: MetricResults, title: str) -> str:
    """The corrected p-value of a row's test over all cases, or the sign for none."""
    p = results.pooled[title].p_holm
    return NOTHING if math.isnan(p) else f"{p:.2g}"


def paper_words(metric: Metric, cell: ResultsCell) -> str:
    """The paper's mean and standard deviation, or the sign for none."""
    if cell.paper is None:
        return NOTHING
    mean, std = cell.paper
    return (
        number(metric, mean) if std is None else f"{number(metric, mean)} ± {number(metric, std)}"
    )


def headings(columns: Sequence[str]) -> list[str]:
    """Columns as headings."""
    return [column.replace("_", " ") for column in columns]
