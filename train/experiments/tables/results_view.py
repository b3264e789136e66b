"""A results table on the screen: our mean, its deviation and its p-value above the paper's mean."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from manifests.views.table_style import RULED, add_row, folded, new_table
from train.comparison.comparison import Entry
from train.comparison.tables import RANK_STYLES, p_words
from train.experiments.tables.results_table import EVERYTHING, ResultsTable
from train.scoring.metrics import SCALES, Metric
from train.scoring.scores import ALL
from train.scoring.tables import NOTHING, mean_above_std, number

POOLED = "p, pooled"


def results_view(table: ResultsTable, metric: Metric, *, means_only: bool = False) -> Table:
    """Return one metric of a table; for a narrow screen its means only, which it then says.

    Source: Shi et al. 2021, Tables 3 to 8, 10 and 11.
    """
    columns, notes = table.shown_columns, notes_of(table)
    if means_only:
        columns = [column for column in columns if column in (ALL, EVERYTHING)]
        notes = ["means only: table.md has every column, as has a wider screen", *notes]
    heads = [heading.replace(" in ", "\nin ") for heading in headings(columns)]
    view = new_table(
        f"{table.title}: {SCALES[metric].title}",
        [*folded(""), *folded(*heads, POOLED.replace(" ", "\n"), justify="right")],
        look=RULED,
        caption="\n".join(notes),
    )
    for title, cells in table.rows(metric).items():
        shown = (_cell(metric, cells[column]) for column in columns)
        add_row(view, title, *shown, pooled_words(cells))
    return view


def notes_of(table: ResultsTable) -> list[str]:
    """Return what a reader must know, a line each."""
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


def _cell(metric: Metric, cell: Entry) -> Text:
    mean, *below = mean_above_std(metric, cell["mean"], cell["std_over_cases"])
    lines = [Text(mean, RANK_STYLES.get(cell["rank"], ""))]
    lines += [Text(words, "dim") for words in (*below, *p_words(cell))]
    if not math.isnan(cell["paper_mean"]):
        lines.append(Text(f"paper {number(metric, cell['paper_mean'])}", "dim cyan"))
    return Text("\n").join(lines)


def pooled_words(cells: Mapping[str, Entry]) -> str:
    """Return the corrected p-value of a row's test over all cases, or the sign for none."""
    p = next(iter(cells.values()))["p_pooled_holm"]
    return NOTHING if math.isnan(p) else f"{p:.2g}"


def headings(columns: Sequence[str]) -> list[str]:
    """Return columns as headings."""
    return [column.replace("_", " ") for column in columns]
