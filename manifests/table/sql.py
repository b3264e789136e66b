"""SQL on the cases of a manifest; of a manifest on disk, only what a query needs is read."""

import re
import signal
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from manifests.ground.errors import ManifestError
from manifests.ground.near_names import did_you_mean, some_of
from manifests.table.case import SCHEMA, Case
from manifests.table.manifest import (
    Manifest,
    has_schema,
    manifest_file,
    read_head,
    read_manifest,
)
from manifests.table.row_groups import users_columns, with_users_columns

CASES = "cases"
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # no Python variable is a table
}
# A condition reads columns and nothing else; set once the one file that may be read is named.
LOCKS = ("enable_external_access = false", "lock_configuration = true")
INTERRUPTED = "Query interrupted"  # DuckDB's words for Ctrl-C, if it sees it
_PAUSE_SECONDS = 0.05
UNKNOWN_COLUMN = re.compile(r'Referenced column "([^"]*)" not found')  # DuckDB's words
PARSER = "Parser Error"
QUOTES = "text stands in single quotes, as in \"dataset = 'btcv'\""
PATTERN_CHARACTERS = "*?["  # which DuckDB would look for other files by


@dataclass(frozen=True)
class SelectedCases:
    """Some cases of a manifest.

    Attributes:
        head: The manifest, of which the rows do not matter.
        connection: Has the cases as its table `cases`.
        every: These and the manifest's other cases.
        source: Where they come from, for people.
    """

    head: Manifest
    connection: duckdb.DuckDBPyConnection
    every: duckdb.DuckDBPyRelation
    source: str

    def ids(self) -> list[str]:
        """Return the ids of the cases, in the order of the rows."""
        rows = self.connection.table(CASES).project("case_id").fetchall()
        return [case_id for (case_id,) in rows]

    def case(self, case_id: str) -> Case:
        """Return the case of that id.

        Raises:
            ManifestError: There is none.
        """
        wanted = duckdb.ColumnExpression("case_id") == duckdb.ConstantExpression(case_id)
        found = self.connection.table(CASES).filter(wanted)
        rows = self.head.with_table(found.to_arrow_table())
        if not len(rows):
            ids = self.ids()
            near = did_you_mean(case_id, ids) or f"; it has {some_of(ids)}"
            msg = f"no case {case_id!r} in {self.source}{near}"
            raise ManifestError(msg)
        return next(rows.cases())


@contextmanager
def database() -> Generator[duckdb.DuckDBPyConnection]:
    """Yield an empty database in memory; Ctrl-C in a query is a `KeyboardInterrupt`."""
    with duckdb.connect(":memory:", config=CONFIG) as db, _stopped_by_ctrl_c(db) as stopped:
        try:
            yield db
        except Exception as error:
            seen = isinstance(error, duckdb.InterruptException) or str(error) == INTERRUPTED
            # or it is an error of what Ctrl-C broke off, as the count of an Arrow table's rows
            if seen or stopped.wait(_PAUSE_SECONDS):
                raise KeyboardInterrupt from error
            raise


@contextmanager
def _stopped_by_ctrl_c(db: duckdb.DuckDBPyConnection) -> Generator[threading.Event]:
    """Stop the queries of the block at Ctrl-C, and yield what is set then.

    DuckDB 2.0 looks for signals between two tasks of a query, and now and then waits for its other
    threads first, without end. Python writes a signal's number to a socket at once, though.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # Ctrl-C is the main thread's
        return
    read, write = socket.socketpair()
    write.setblocking(False)
    over, before = threading.Event(), signal.set_wakeup_fd(write.fileno())

    def watch() -> None:
        while (got := read.recv(1)) and got[0] != signal.SIGINT:
            pass
        if got:
            stopped.set()
        while got and not over.wait(_PAUSE_SECONDS):
            db.interrupt()  # again and again: it is lost on a query that is about to begin

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield stopped
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        write.close()
        watcher.join()
        read.close()


@contextmanager
def select_cases(manifest: Manifest | Path, where: str | None = None) -> Generator[SelectedCases]:
    """Select the cases of a manifest for which a condition holds.

    Args:
        manifest: One that was read, a file, or the folder that holds `manifest.parquet`.
        where: A DuckDB condition, as in `dataset = 'btcv' and list_contains(annotated, 'liver')`;
            None is every case.

    Raises:
        ManifestError: As of `read_manifest`, or `where` is no condition over the columns; from
            inside the block too.
    """
    if isinstance(manifest, Manifest):
        head, source = manifest, "the manifest"
    else:
        head, source = read_head(manifest), str(manifest_file(manifest))
    columns: Sequence[str] = SCHEMA.names
    with database() as db:
        try:
            rows = rows_of(db, manifest, users=where is not None)
            columns = rows.columns
            for lock in LOCKS:
                db.execute(f"set {lock}")
            # `filter` parses one expression, so no second statement can follow it
            (rows if where is None else rows.filter(where)).create_view(CASES)
            place = source if where is None else f"the cases of {source} for which {where}"
            yield SelectedCases(head, db, rows, place)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            failed = f"{source} cannot be read"
            if where is not None:
                failed = f"the filter {where!r} cannot be used"
            hint = _hint(str(error), where or "", columns)
            msg = f"{failed}: {error}\n{hint}columns: {', '.join(columns)}"
            raise ManifestError(msg) from error


def _hint(said: str, where: str, columns: Sequence[str]) -> str:
    """Say what is most often wrong with a condition: text without its quotes, or a slip."""
    unknown = UNKNOWN_COLUMN.search(said)
    if unknown:
        name = unknown[1]
        if re.search(rf'\b{re.escape(name)}\b"?\s*([=<>!]|in\b|like\b)', where, re.IGNORECASE):
            return f"{name!r} is no column{did_you_mean(name, columns)}\n"
        quoted = re.sub(rf'"?\b{re.escape(name)}\b"?', lambda _: f"'{name}'", where)
        return f"{name!r} is no column; text stands in single quotes: {quoted}\n"
    return f"{QUOTES}; conditions are joined by `and` and `or`\n" if PARSER in said else ""


def rows_of(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest | Path, *, users: bool = False
) -> duckdb.DuckDBPyRelation:
    """Return the rows of a manifest, left on disk if they lie there as `SCHEMA` has them.

    With `users`, the columns that a user added to the file are there, too. Afterwards the
    connection may read this file even without external access.

    Raises:
        ManifestError: As of `read_manifest`.
    """
    if isinstance(manifest, Manifest):
        return connection.from_arrow(manifest.table)
    path = manifest_file(manifest)
    own = users_columns(path) if users else []
    if not has_schema(path) or set(PATTERN_CHARACTERS) & set(str(path)):
        table = with_users_columns(read_manifest(path), path, tables=True).table
        return connection.from_arrow(table.select([*SCHEMA.names, *own]))
    connection.execute("set allowed_paths = ?", [[str(path)]])
    connection.execute("set parquet_metadata_cache = true")  # several questions are asked
    rows = connection.read_parquet(str(path), hive_partitioning=False)
    return rows.select(*map(duckdb.ColumnExpression, [*SCHEMA.names, *own]))
