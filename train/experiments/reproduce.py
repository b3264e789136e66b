"""Reproduction: the table and the pictures that finished runs come to."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from manifests.ground.atomic import write_text
from train.experiments.plans.planned_run import PlannedRun, RunRequest
from train.experiments.tables.pictures import draw_table, drawable_runs
from train.experiments.tables.results_files import write_table
from train.experiments.tables.results_table import ResultsTable, build_table, labelled_cells
from train.experiments.tables.rows import row_scores
from train.scoring.scores import Scores

TABLES, PICTURES = "tables", "overlays"
ON_TEST = (
    "checkpoints were selected on the TEST split, as the paper did: the numbers are too good, and "
    "comparable to no others"
)


def table_of(
    name: str, request: RunRequest, done: Mapping[PlannedRun, Scores]
) -> ResultsTable | None:
    """Return the table of the runs that are done; none if no row is whole."""
    scores = {(run.training, run.seed): found for run, found in done.items()}
    rows = row_scores(request.catalogue.table(name), request.catalogue, scores)
    if not rows:
        return None
    tested = [run.prepared.tested_on.manifest for run in done if run.prepared]
    labelled = {cell for manifest in tested for cell in labelled_cells(manifest)}
    notes = [ON_TEST] if request.select_on == "test" else []
    return build_table(name, rows, request.catalogue, labelled, notes=notes)


def write_all(
    results: ResultsTable, request: RunRequest, done: Mapping[PlannedRun, Scores]
) -> Iterator[str]:
    """Write a table's files and draw its pictures; says what could not be drawn, and where."""
    on_test = request.select_on == "test"
    folder = request.out / TABLES / f"{results.name}{'-selected-on-test' if on_test else ''}"
    write_table(results, folder)
    runs = drawable_runs(request.catalogue.table(results.name), done)
    tested = next((run.prepared.tested_on.path for run in done if run.prepared), None)
    if runs and tested:
        for line in draw_table(runs, tested, folder / PICTURES):
            if not Path(line).is_file():
                yield line
    if on_test:
        write_text(folder / "SELECTED_ON_TEST.txt", f"{ON_TEST}\n")
    yield f"table.md, table.csv, table.tex and overlays in {folder}"
