"""Cases as a table for SQL; of a manifest on disk, only what a question needs is read."""
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from manifests.case import SCHEMA, Case
from manifests.errors import ManifestError
from manifests.manifest import Manifest, is_as_written, manifest_file, read_head, read_manifest
from manifests.query import CONFIG, filter_cases

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
        place: Where they come from, for people.
    """

    head: Manifest
    connection: duckdb.DuckDBPyConnection
    place: str

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
        yield StoredCases(manifest, connection, f"{len(manifest)} cases")


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
    if not is_as_written(path) or set(PATTERN_CHARACTERS) & set(str(path)):
        read = read_manifest(path)
        with in_memory(read if where is None else filter_cases(read, where)) as cases:
            yield cases
        return
    place = str(path) if where is None else f"the cases of {path} for which {where}"
    with duckdb.connect(":memory:", config=UNLOCKED) as db:
        db.execute("set allowed_paths = ?", [[str(path)]])
        for name, value in LOCKS.items():
            db.execute(f"set {name} = {value}")
        try:
            # `filter` parses one expression, so no second statement can follow it
            rows = db.read_parquet(str(path), hive_partitioning=False).select(*SCHEMA.names)
            (rows if where is None else rows.filter(where)).create_view(CASES)
            yield StoredCases(head, db, place)
        except duckdb.Error as error:
            what = f"{path} cannot be read" if where is None else _unusable(where)
            msg = f"{what}: {error}\ncolumns: {', '.join(SCHEMA.names)}"
            raise ManifestError(msg) from error


def _unusable(where: str) -> str:
    return f"the filter {where!r} cannot be used"
