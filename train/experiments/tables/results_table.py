"""A results table, as the paper prints it: one row for each network, ours beside the paper's."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from manifests.classes.merged import groups_of
from manifests.table.manifest import Manifest
from train.comparison.comparison import NOT_KNOWN, Comparison, Entry, Line, compare
from train.comparison.tables import ranks
from train.experiments.plans.catalogue import Catalogue, TableSpec
from train.experiments.tables.paper import paper_cells
from train.experiments.tables.pooled import Pooled, pooled_tests
from train.experiments.tables.rows import RowScores, of_equal_cases
from train.scoring.metrics import METRICS, Metric
from train.scoring.scores import ALL, CellName

EVERYTHING = "everything"  # beside `all`: what no training case of the dataset annotates, too
NOTHING = Entry(mean=math.nan, interval=NOT_KNOWN)


@dataclass(frozen=True)
class ResultsCell:
    """One cell.

    Attributes:
        entry: Mean and standard deviation over the cases, interval, and test against a row.
        seed_std: Standard deviation over the seeds of the mean; NaN with one seed.
        rank: 0 for the best of its column, 1 for the second; -1 without a value.
        paper: The paper's mean and standard deviation; none if it prints none.
    """

    entry: Entry
    seed_std: float
    rank: int
    paper: tuple[float, float | None] | None


@dataclass(frozen=True)
class MetricResults:
    """One metric of one table.

    Attributes:
        metric: The metric.
        columns: As in `liver in F`, then `all`, and `everything` where that is more.
        unlabelled: Those of them that no training case of the dataset annotates.
        cells: By row and column.
        cases: Number of cases of each column.
        pooled: By row, its test over all cases.
    """

    metric: Metric
    columns: tuple[str, ...]
    unlabelled: frozenset[str]
    cells: Mapping[tuple[str, str], ResultsCell]
    cases: Mapping[str, int]
    pooled: Mapping[str, Pooled]


@dataclass(frozen=True)
class ResultsTable:
    """All metrics of one table.

    Attributes:
        name: The table's name.
        title: What it is called.
        rows: Titles of the rows that have runs.
        seeds: Of each of them.
        against: Title of the row that the others are tested against.
        missing: Titles of the rows that have none yet.
        metrics: By metric.
        notes: What a reader must know.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    against: str
    missing: tuple[str, ...]
    metrics: Mapping[Metric, MetricResults]
    notes: tuple[str, ...]


def labelled_cells(manifest: Manifest) -> set[CellName]:
    """Class and dataset of all that the training cases annotate, merged classes by all names."""
    names = manifest.label_space.names
    found = {(case.dataset, case.merged) for case in manifest.cases() if case.split == "train"}
    return {
        ("+".join(names[n] for n in group), dataset)
        for dataset, merged in found
        for representative, group in groups_of(merged).items()
        if representative > 0
    }


def build_table(
    name: str,
    table: TableSpec,
    rows: Sequence[RowScores],
    catalogue: Catalogue,
    labelled: Collection[CellName],
    *,
    notes: Sequence[str] = (),
) -> ResultsTable:
    """Lay out the rows of a table that have runs.

    Args:
        name: The table's.
        table: The table.
        rows: Those of its rows that have runs, at least one.
        catalogue: Says which dataset has which role.
        labelled: What the training cases annotate: the cells that `all` is the mean of.
        notes: What a reader must know beside what the comparison notes.

    Raises:
        TrainingError: Rows were scored against other truths of one case.
    """
    if table.tested_on:
        tested = set(catalogue.dataset_names(table.tested_on))
        rows = [row.limited_to({c for c in _cells(row) if c[1] in tested}) for row in rows]
    every = _compared(rows, table.against)
    # a mean over fewer cells is not to stand beside the others
    columns = {cell for row in rows for cell in _cells(row)}
    whole = [row for row in rows if _cells(row) == columns]
    usual = _compared([row.limited_to(labelled) for row in whole], table.against)
    places = {row.title: row.paper or f"{name}/{row.title}" for row in table.rows}
    titles = tuple(row.title for row in rows)
    layout = _Layout(catalogue, rows, places, set(labelled), pooled_tests(rows, table.against))
    means = usual, _compared(whole, table.against)
    return ResultsTable(
        name=name,
        title=table.title,
        rows=titles,
        seeds={row.title: row.seeds for row in rows},
        against=table.against if table.against in titles else rows[0].title,
        missing=tuple(r.title for r in table.rows if r.title not in titles),
        metrics={metric: _metric_results(metric, every, means, layout) for metric in METRICS},
        notes=tuple(dict.fromkeys([*notes, *(w for c in every for w in c.warnings)])),
    )


@dataclass(frozen=True)
class _Layout:
    catalogue: Catalogue
    rows: Sequence[RowScores]
    places: Mapping[str, str]
    labelled: set[CellName]
    pooled: Mapping[Metric, Mapping[str, Pooled]]

    def column(self, line: Line) -> str:
        return f"{line.class_name} in {self.catalogue.role(line.dataset)}"


def _compared(rows: Sequence[RowScores], against: str) -> list[Comparison]:
    """Rows side by side, those of one test set together."""
    return [
        compare(
            {title: row.mean for title, row in group.items()},
            against=against if against in group else "",
        )
        for group in of_equal_cases(rows)
    ]


def _metric_results(
    metric: Metric,
    every: Sequence[Comparison],
    means: tuple[Sequence[Comparison], Sequence[Comparison]],
    layout: _Layout,
) -> MetricResults:
    lines = {layout.column(line): line for c in every for line in c.metrics[metric].lines}
    unlabelled = {
        column
        for column, line in lines.items()
        if (line.class_name, line.dataset) not in layout.labelled
    }
    by_column: dict[str, dict[str, Entry]] = {}
    for comparison in every:
        for line in comparison.metrics[metric].lines:
            found = zip(comparison.names, line.entries, strict=True)
            by_column.setdefault(layout.column(line), {}).update(found)
    usual, whole = means
    for key, comparisons in {ALL: usual, EVERYTHING: whole if unlabelled else ()}.items():
        for comparison in comparisons:
            entries = comparison.metrics[metric].overall.entries
            by_column.setdefault(key, {}).update(zip(comparison.names, entries, strict=True))
    cells = {
        (title, column): cell
        for column, entries in by_column.items()
        for title, cell in _column(metric, column, lines.get(column), entries, layout).items()
    }
    counts = {column: line.cases for column, line in lines.items()}
    pooled = layout.pooled[metric]
    return MetricResults(metric, tuple(by_column), frozenset(unlabelled), cells, counts, pooled)


def _column(
    metric: Metric,
    column: str,
    line: Line | None,
    entries: Mapping[str, Entry],
    layout: _Layout,
) -> dict[str, ResultsCell]:
    titles = [row.title for row in layout.rows]
    listed = tuple(entries.get(title, NOTHING) for title in titles)
    whole = Line(class_name=ALL, dataset="", cases=0, left_out=0, entries=listed)
    placed = ranks(metric, whole)
    cells: dict[str, ResultsCell] = {}
    for row, entry, rank in zip(layout.rows, listed, placed, strict=True):
        spread = _spread(row, metric, column, line, layout)
        paper = paper_cells(layout.places[row.title], metric).get(column)
        cells[row.title] = ResultsCell(entry, spread, rank, paper)
    return cells


def _spread(
    row: RowScores, metric: Metric, column: str, line: Line | None, layout: _Layout
) -> float:
    if line is not None:
        return row.spread(metric).get((line.class_name, line.dataset), math.nan)
    limited = row.limited_to(layout.labelled) if column == ALL else row
    return limited.spread_of_all(metric)


def _cells(row: RowScores) -> set[CellName]:
    return {(s.class_name, s.dataset) for scores in row.by_seed for s in scores.scores}
