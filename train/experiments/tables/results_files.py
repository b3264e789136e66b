"""Files of a table: CSV with every number, Markdown and LaTeX with ours beside the paper's."""

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from manifests.ground.atomic import whole_file, write_text
from train.experiments.tables.results_table import ResultsCell, ResultsTable
from train.experiments.tables.results_view import (
    POOLED,
    below_words,
    headings,
    notes_of,
    own_words,
    paper_words,
    pooled_words,
    shown_columns,
)
from train.scoring.metrics import SCALES, Metric

PRINTED: tuple[Metric, ...] = ("dice", "hausdorff_mm", "hd95_mm")
_MARKDOWN = MappingProxyType({0: ("**", "**"), 1: ("<u>", "</u>")})
_LATEX = MappingProxyType({0: (r"\textbf{", "}"), 1: (r"\underline{", "}")})
_LATEX_SIGNS = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"} | {"±": r"$\pm$", "\\": r"\textbackslash{}", "–": "--"}  # noqa: RUF001
)

_LEGEND = (
    "[ ]: 95% bootstrap interval of the mean over cases; seeds ±: standard deviation of the mean "
    "over seeds; p: Wilcoxon signed-rank test, corrected (Holm)"
)


def write_table(table: ResultsTable, folder: Path) -> None:
    """Write `table.csv`, `table.md` and `table.tex`, each as a whole file."""
    with whole_file(folder / "table.csv") as temporary:
        pd.DataFrame(list(_rows(table))).to_csv(temporary, index=False)
    write_text(folder / "table.md", _markdown(table))
    write_text(folder / "table.tex", "\n".join(_latex(table, metric) for metric in PRINTED))


def _rows(table: ResultsTable) -> Iterator[dict[str, Any]]:
    """One row for each metric, row and column of the table."""
    for metric, results in table.metrics.items():
        for (title, column), cell in results.cells.items():
            paper = cell.paper or (None, None)
            yield {
                "metric": metric,
                "row": title,
                "column": column,
                "labelled_in_training": column not in results.unlabelled,
                "cases": results.cases.get(column),
                "seeds": len(table.seeds[title]),
                "mean": cell.entry.mean,
                "std_over_cases": cell.entry.std,
                "mean_low": cell.entry.interval.low,
                "mean_high": cell.entry.interval.high,
                "std_over_seeds": cell.seed_std,
                "difference": cell.entry.difference,
                "difference_low": cell.entry.difference_interval.low,
                "difference_high": cell.entry.difference_interval.high,
                "p": cell.entry.p,
                "p_holm": cell.entry.p_holm,
                "p_pooled": results.pooled[title].p,
                "p_pooled_holm": results.pooled[title].p_holm,
                "paper_mean": paper[0],
                "paper_std": paper[1],
                "notes": "; ".join(table.notes),
            }


def _markdown(table: ResultsTable) -> str:
    """The metrics one after the other; a row of ours, and below it the paper's where it has one."""
    lines = [f"# {table.title}", ""]
    for metric in PRINTED:
        results = table.metrics[metric]
        columns = shown_columns(results)
        lines += [
            f"## {SCALES[metric].title}",
            "",
            f"| {' | '.join(['', '', *headings(columns), POOLED])} |",
            f"|{'---|' * (len(columns) + 3)}",
        ]
        for title in table.rows:
            cells = [results.cells[title, column] for column in columns]
            ours = [_with_below(metric, cell) for cell in cells]
            words = [_piped(title), "ours", *ours, pooled_words(results, title)]
            lines.append(f"| {' | '.join(words)} |")
            if any(cell.paper for cell in cells):
                theirs = [paper_words(metric, cell) for cell in cells]
                lines.append(f"| {' | '.join(['', 'paper', *theirs, ''])} |")
        lines.append("")
    notes = [f"- {note}" for note in (_LEGEND, *notes_of(table))]
    return "\n".join([*lines, *notes, ""])


def _with_below(metric: Metric, cell: ResultsCell) -> str:
    before, after = _MARKDOWN.get(cell.rank, ("", ""))
    return "<br>".join([f"{before}{own_words(metric, cell)}{after}", *below_words(metric, cell)])


def _piped(text: str) -> str:
    return text.replace("|", r"\|")


def _latex(table: ResultsTable, metric: Metric) -> str:
    results = table.metrics[metric]
    columns = shown_columns(results)
    lines = [
        f"% {table.title}: {SCALES[metric].title}; needs booktabs",
        *(f"% {note}" for note in notes_of(table)),
        rf"\begin{{tabular}}{{ll{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        rf" & & {' & '.join(_escaped(h) for h in headings(columns))} & {POOLED} \\",
        r"\midrule",
    ]
    for title in table.rows:
        cells = [results.cells[title, column] for column in columns]
        ours = [_marked(metric, cell) for cell in cells]
        ours.append(_escaped(pooled_words(results, title)))
        lines.append(rf"{_escaped(title)} & ours & {' & '.join(ours)} \\")
        if any(cell.paper for cell in cells):
            theirs = [_escaped(paper_words(metric, cell)) for cell in cells]
            lines.append(rf" & paper & {' & '.join(theirs)} & \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _marked(metric: Metric, cell: ResultsCell) -> str:
    before, after = _LATEX.get(cell.rank, ("", ""))
    return f"{before}{_escaped(own_words(metric, cell))}{after}"


def _escaped(text: str) -> str:
    return text.translate(_LATEX_SIGNS)
