"""Files of a table: CSV with every number, Markdown and LaTeX with ours beside the paper's."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from manifests.ground.atomic import write_text
from manifests.views.table_style import latex_table, latex_text, markdown_table
from train.comparison.comparison import Entry
from train.comparison.tables import RANK_MARKDOWN, interval_words, p_words
from train.experiments.tables.results_table import ResultsTable
from train.experiments.tables.results_view import POOLED, headings, notes_of, pooled_words
from train.scoring.metrics import SCALES, Metric
from train.scoring.tables import mean_std, number

PRINTED: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm")
COLUMNS = (
    *("metric", "row", "column", "labelled_in_training", "cases", "seeds"),
    *("mean", "std_over_cases", "mean_low", "mean_high", "std_over_seeds"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
    *("p_pooled", "p_pooled_holm", "paper_mean", "paper_std"),
)
_RANK_LATEX = {0: r"\textbf{{{}}}", 1: r"\underline{{{}}}"}
_LEGEND = (
    "[ ]: 95% bootstrap interval of the mean over cases; seeds ±: standard deviation of the mean "
    "over seeds; p: Wilcoxon signed-rank test, corrected (Holm)"
)


def write_table(table: ResultsTable, folder: Path) -> None:
    """Write `table.csv`, `table.md` and `table.tex`, each as a whole file."""
    frame = table.frame[[*COLUMNS]].assign(notes="; ".join(table.notes))
    write_text(folder / "table.csv", frame.to_csv(index=False))
    write_text(folder / "table.md", _markdown(table))
    write_text(folder / "table.tex", "\n".join(_latex(table, metric) for metric in PRINTED))


def _markdown(table: ResultsTable) -> str:
    """The metrics one after the other; a row of ours, and below it the paper's where it has one."""
    heads = ["", "", *headings(table.shown_columns), POOLED]
    lines = [f"# {table.title}", ""]
    for metric in PRINTED:
        rows = _rows(table, metric, _markdown_cell)
        lines += [f"## {SCALES[metric].title}", "", *markdown_table(heads, rows), ""]
    notes = [f"- {note}" for note in (_LEGEND, *notes_of(table))]
    return "\n".join([*lines, *notes, ""])


def _markdown_cell(metric: Metric, cell: Entry) -> str:
    mean = mean_std(metric, cell["mean"], cell["std_over_cases"])
    spread = cell["std_over_seeds"]
    seeds = [] if math.isnan(spread) else [f"seeds ± {number(metric, spread)}"]
    below = (*interval_words(metric, cell), *seeds, *p_words(cell))
    return "<br>".join([RANK_MARKDOWN.get(cell["rank"], "{}").format(mean), *below])


def _latex(table: ResultsTable, metric: Metric) -> str:
    heads = ["", "", *map(latex_text, headings(table.shown_columns)), POOLED]
    rows = _rows(table, metric, _latex_cell, escape=latex_text)
    return "\n".join(
        [
            f"% {table.title}: {SCALES[metric].title}; needs booktabs",
            *(f"% {note}" for note in notes_of(table)),
            *latex_table("ll".ljust(len(heads), "r"), heads, rows),
            "",
        ]
    )


def _latex_cell(metric: Metric, cell: Entry) -> str:
    mean = latex_text(mean_std(metric, cell["mean"], cell["std_over_cases"]))
    return _RANK_LATEX.get(cell["rank"], "{}").format(mean)


def _rows(
    table: ResultsTable,
    metric: Metric,
    own_cell: Callable[[Metric, Entry], str],
    *,
    escape: Callable[[str], str] = str,
) -> Iterator[list[str]]:
    for title, cells in table.rows(metric).items():
        shown = [cells[column] for column in table.shown_columns]
        ours = (own_cell(metric, cell) for cell in shown)
        yield [escape(title), "ours", *ours, escape(pooled_words(cells))]
        if not all(math.isnan(cell["paper_mean"]) for cell in shown):
            paper = (mean_std(metric, cell["paper_mean"], cell["paper_std"]) for cell in shown)
            yield ["", "paper", *map(escape, paper), ""]
