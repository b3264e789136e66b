"""A results table, as the paper prints it: one row for each network, ours beside the paper's."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from manifests.classes.merged import groups_of
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.comparison.comparison import Comparison, Entry, compare
from train.comparison.tables import ranks
from train.experiments.plans.catalogue import Catalogue
from train.experiments.tables.paper import paper_cells
from train.experiments.tables.pooled import pooled_tests
from train.experiments.tables.rows import RowScores, of_equal_cases
from train.scoring.metrics import METRICS, Metric
from train.scoring.scores import ALL, CellName

EVERYTHING = "everything"  # beside `all`: what no training case of the dataset annotates, too
_NAMES = {"run": "row", "std": "std_over_cases"}
_KEY = ["metric", "column", "row"]


@dataclass(frozen=True)
class ResultsTable:
    """All metrics of one table.

    Attributes:
        seeds: Of each row that has runs, by its title.
        against: Title of the row that the others are tested against.
        missing: Titles of the rows that have no runs yet.
        frame: One row for each metric, column and row. Columns are as in `liver in F`, then `all`,
            and `everything` where that is more. The numbers are those of `Comparison.table`, and
            `std_over_seeds` of the mean, `p_pooled` of the row's test over all cases, what the
            paper prints, and the `rank`: 0 for the best of its column, 1 for the second, -1 without
            a value. NaN where there is nothing to say.
    """

    name: str
    title: str
    seeds: Mapping[str, tuple[int, ...]]
    against: str
    missing: tuple[str, ...]
    frame: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def shown_columns(self) -> list[str]:
        """The columns for people: what the training cases annotate, and the means."""
        return self.frame.loc[self.frame["labelled_in_training"], "column"].unique().tolist()

    def rows(self, metric: Metric) -> dict[str, dict[str, Entry]]:
        """Return the cells of a metric by row and column."""
        rows: dict[str, dict[str, Entry]] = {title: {} for title in self.seeds}
        for cell in self.frame.loc[self.frame["metric"] == metric].to_dict("records"):
            rows[cell["row"]][cell["column"]] = cell
        return rows


def labelled_cells(manifest: Manifest) -> set[CellName]:
    """Return class and dataset of all that the training cases annotate.

    Merged classes have all their names.
    """
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
    rows: Sequence[RowScores],
    catalogue: Catalogue,
    labelled: Collection[CellName],
    *,
    notes: Sequence[str] = (),
) -> ResultsTable:
    """Lay out the rows of a table that have runs.

    Args:
        name: The table's name in the catalogue.
        rows: Those of its rows that have runs, at least one.
        catalogue: Has the table, and says which dataset has which role.
        labelled: What the training cases annotate: the cells that `all` is the mean of.
        notes: What a reader must know beside what the comparison notes.

    Raises:
        TrainingError: Rows were scored against other truths of one case, or no row has a score in
            the datasets that the table is tested on.
    """
    table = catalogue.table(name)
    if table.tested_on:
        tested = set(catalogue.dataset_names(table.tested_on))
        rows = [row.limited_to({c for c in row.cells if c[1] in tested}) for row in rows]
    seeds = {row.title: row.seeds for row in rows}
    cells = {cell for row in rows for cell in row.cells}
    if not cells:
        tested = ", ".join(catalogue.dataset_names(table.tested_on)) or "any dataset"
        msg = (
            f"table {name!r}: no row has a score in {tested}; the test cases in the manifest that "
            f"the runs were evaluated on annotate no class, or are of other datasets"
        )
        raise TrainingError(msg)
    means = _columns_of_means(cells, set(labelled))
    every = _compared(rows, table.against)
    found = pd.concat([_by_column(every, catalogue), *_means(rows, means, table.against)])
    columns = {catalogue.column(*cell): {cell} for cell in cells} | means
    frame = _laid_out(found.rename(columns=_NAMES), list(seeds))
    annotated = [column for column, counted in columns.items() if counted <= set(labelled)]
    frame["labelled_in_training"] = frame["column"].isin([*annotated, *means])
    frame = _with_paper(_with_seeds(frame, rows, columns), catalogue, name)
    return ResultsTable(
        name=name,
        title=table.title,
        seeds=seeds,
        against=table.against if table.against in seeds else rows[0].title,
        missing=tuple(r.title for r in table.rows if r.title not in seeds),
        frame=frame.merge(pooled_tests(rows, table.against), how="left"),
        notes=tuple(dict.fromkeys([*notes, *(w for c in every for w in c.warnings)])),
    )


def _columns_of_means(cells: set[CellName], labelled: set[CellName]) -> dict[str, set[CellName]]:
    """Return the cells that `all` and `everything` are means of, where there are any."""
    means = {ALL: labelled} if cells & labelled else {}
    return means if cells <= labelled else {**means, EVERYTHING: cells}


def _by_column(compared: Sequence[Comparison], catalogue: Catalogue) -> pd.DataFrame:
    """Return the comparisons' numbers of each class and dataset, with the column's name."""
    found = pd.concat([comparison.table for comparison in compared])
    found = found.loc[found["dataset"] != ""]
    return found.assign(column=list(map(catalogue.column, found["class"], found["dataset"])))


def _means(
    rows: Sequence[RowScores], means: Mapping[str, Collection[CellName]], against: str
) -> Iterator[pd.DataFrame]:
    """Yield the numbers of the columns that are means over cells."""
    cells = {cell for row in rows for cell in row.cells}
    # a mean over fewer cells is not to stand beside the others
    whole = [row for row in rows if row.cells == cells]
    for column, counted in means.items():
        for comparison in _compared([row.limited_to(counted) for row in whole], against):
            overall = comparison.table.loc[comparison.table["dataset"] == ""]
            yield overall.assign(column=column, cases=math.nan)


def _with_seeds(
    frame: pd.DataFrame, rows: Sequence[RowScores], columns: Mapping[str, Collection[CellName]]
) -> pd.DataFrame:
    """Return the frame with the number of seeds, and the spread of the mean over them."""
    by_title = {row.title: row for row in rows}
    keys = frame[_KEY].itertuples(index=False, name=None)
    return frame.assign(
        seeds=[len(by_title[row].seeds) for row in frame["row"]],
        std_over_seeds=[by_title[row].spread(m, columns[c]) for m, c, row in keys],
    )


def _with_paper(frame: pd.DataFrame, catalogue: Catalogue, name: str) -> pd.DataFrame:
    """Return the frame with what the paper prints; NaN where it prints nothing."""
    places = {row.title: row.paper or f"{name}/{row.title}" for row in catalogue.table(name).rows}
    keys = frame[_KEY].itertuples(index=False, name=None)
    paper = [paper_cells(places[row], m).get(c, (math.nan, None)) for m, c, row in keys]
    return frame.assign(
        paper_mean=[mean for mean, _ in paper],
        paper_std=[math.nan if std is None else std for _, std in paper],
    )


def _laid_out(found: pd.DataFrame, titles: Sequence[str]) -> pd.DataFrame:
    """Every metric, column and row, in this order, with the ranks in each column."""
    index = pd.MultiIndex.from_product([METRICS, found["column"].unique(), titles], names=_KEY)
    whole = found.drop_duplicates(_KEY, keep="last").set_index(_KEY)
    frame = whole.reindex(index).reset_index()
    ranked = [
        rank
        for _, cells in frame.groupby(_KEY[:2], sort=False)
        for rank in ranks(cells["metric"].iloc[0], cells["mean"].tolist())
    ]
    return frame.assign(rank=ranked)


def _compared(rows: Sequence[RowScores], against: str) -> list[Comparison]:
    """Rows side by side, those of one test set together."""
    return [
        compare(
            {title: row.mean for title, row in group.items()},
            against=against if against in group else "",
        )
        for group in of_equal_cases(rows)
    ]
