"""Cases as a table for SQL; of a manifest on disk, only what a question needs is read."""
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from manifests.ground.errors import ManifestError
from manifests.table.case import SCHEMA, Case
from manifests.table.manifest import (
    Manifest,
    is_as_written,
    manifest_file,
    read_head,
    read_manifest,
)
from manifests.table.query import CONFIG

CASES = "cases"
# Set once the one file that may be read is named.
LOCKS = {"enable_external_access": False, "lock_configuration": True}
UNLOCKED = {name: value for name, value in CONFIG.items() if name not in LOCKS}
PATTERN_CHARACTERS = "*?["  # which DuckDB would look for other files by


@dataclass(frozen=True)
class StoredCases:
    """Some cases of a manifest.

    Attributes:
        head: The manifest without its rows.
        connection: Has the cases as its table `cases`.
        every: These and the manifest's other cases.
        place: Where they come from, for people.
    """

    head: Manifest
    connection: duckdb.DuckDBPyConnection
    every: duckdb.DuckDBPyRelation
    place: str

    def ids(self) -> list[str]:
        """The ids of the cases."""
        rows = self.connection.table(CASES).project("case_id").fetchall()
        return [case_id for (case_id,) in rows]

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            ManifestError: There is none.
        """
        wanted = duckdb.ColumnExpression("case_id") == duckdb.ConstantExpression(case_id)
        found = self.connection.table(CASES).filter(wanted)
        rows = self.head.with_table(found.to_arrow_table())
        if not len(rows):
            msg = f"no case {case_id!r} in {self.place}"
            raise ManifestError(msg)
        return next(rows.cases())


@contextmanager
def in_memory(manifest: Manifest) -> Generator[StoredCases]:
    """The cases of a manifest that was read."""
    with duckdb.connect(":memory:", config=CONFIG) as connection:
        connection.register(CASES, manifest.table)
        every = connection.table(CASES)
        yield StoredCases(manifest, connection, every, f"{len(manifest)} cases")


@contextmanager
def on_disk(path: Path, where: str | None = None) -> Generator[StoredCases]:
    """The cases of a manifest that lies on disk, or those for which `where` holds.

    Args:
        path: The file, or the folder that holds `manifest.parquet`.
        where: A DuckDB condition, as for `filter_cases`.

    Raises:
        ManifestError: As of `read_manifest` and `filter_cases`, but from inside the block too.
    """
    path = manifest_file(path)
    head = read_head(path)
    place = str(path) if where is None else f"the cases of {path} for which {where}"
    with duckdb.connect(":memory:", config=UNLOCKED) as db:
        try:
            rows = rows_of(db, path)
            for name, value in LOCKS.items():
                db.execute(f"set {name} = {value}")
            # `filter` parses one expression, so no second statement can follow it
            (rows if where is None else rows.filter(where)).create_view(CASES)
            yield StoredCases(head, db, rows, place)
        except duckdb.Error as error:
            what = f"{path} cannot be read" if where is None else _unusable(where)
            msg = f"{what}: {error}\ncolumns: {', '.join(SCHEMA.names)}"
            raise ManifestError(msg) from error


def rows_of(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """The rows of a manifest, left on disk where they lie there as `SCHEMA` has them.

    Afterwards the connection may read this file though its external access is taken away.

    Raises:
        ManifestError: As of `read_manifest`.
    """
    if not is_as_written(path) or set(PATTERN_CHARACTERS) & set(str(path)):
        return connection.from_arrow(read_manifest(path).table)
    connection.execute("set allowed_paths = ?", [[str(path)]])
    connection.execute("set parquet_metadata_cache = true")  # several questions are asked
    rows = connection.read_parquet(str(path), hive_partitioning=False)
    return rows.select(*SCHEMA.names)


def _unusable(where: str) -> str:
    return f"the filter {where!r} cannot be used"
