"""Reproduction: the table and the pictures that runs come to, and runs on a cluster."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from manifests.ground.atomic import write_text
from manifests.ground.dask_cluster import connected
from train.experiments.plans.catalogue import TableSpec
from train.experiments.plans.planned_run import PlannedRun, RunRequest
from train.experiments.runner import RunResult, run_spread
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
    """The table of the runs that are done; none if no row is whole."""
    scores = {(run.training, run.seed): found for run, found in done.items()}
    rows = row_scores(request.catalogue.table(name), request.catalogue, scores)
    if not rows:
        return None
    labelled = {
        cell
        for run in done
        if run.prepared
        for cell in labelled_cells(run.prepared.tested_on.manifest)
    }
    notes = [ON_TEST] if request.select_on == "test" else []
    return build_table(name, rows, request.catalogue, labelled, notes=notes)


def write_all(
    results: ResultsTable, table: TableSpec, request: RunRequest, done: Mapping[PlannedRun, Scores]
) -> Iterator[str]:
    """Write a table's files and draw its pictures; says what could not be drawn, and where."""
    folder = table_folder(request, results.name)
    write_table(results, folder)
    runs = drawable_runs(table, done)
    tested = next((run.prepared.tested_on.path for run in done if run.prepared), None)
    if runs and tested:
        for line in draw_table(runs, tested, folder / PICTURES):
            if not Path(line).is_file():
                yield line
    if request.select_on == "test":
        write_text(folder / "SELECTED_ON_TEST.txt", f"{ON_TEST}\n")
    yield f"table.md, table.csv, table.tex and overlays in {folder}"


def table_folder(request: RunRequest, name: str) -> Path:
    """Where a table's files go; apart from others if checkpoints were selected on test cases."""
    suffix = "-selected-on-test" if request.select_on == "test" else ""
    return request.out / TABLES / f"{name}{suffix}"


@contextmanager
def on_cluster(runs: Iterable[PlannedRun], address: str) -> Iterator[Iterator[RunResult]]:
    """The results of runs on the workers of a Dask cluster, which see the same folders.

    Raises:
        ClusterError: Dask is not installed, or there is no cluster at the address.
    """
    with connected(address) as client:
        yield run_spread(runs, client.get_executor(pure=False))
