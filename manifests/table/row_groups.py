"""A manifest on disk by row groups, if all of its rows are too many for memory."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from manifests.ground.errors import ManifestError
from manifests.ground.near_names import did_you_mean
from manifests.table.arrays import arrow_array
from manifests.table.case import SCHEMA, TABLE_PREFIX
from manifests.table.manifest import (
    Manifest,
    as_schema,
    manifest_file,
    open_parquet,
    read_head,
    set_columns,
    write_manifest,
)


def read_row_groups(path: Path, *, users: bool = False) -> Iterator[Manifest]:
    """Read a manifest's rows in order, as one manifest for each row group of the file.

    Args:
        path: The file, or the folder that holds `manifest.parquet`.
        users: Whether to read the columns that a user added, too.

    Raises:
        ManifestError: See `read_manifest`.
    """
    path = manifest_file(path)
    head = read_head(path)
    with open_parquet(path) as file:
        # not `iter_batches`, which holds several row groups and takes twice as long
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            table = as_schema(rows, path)
            yield head.with_table(_beside(table, rows) if users else table)


def with_column(manifest: Manifest, path: Path, name: str) -> Manifest:
    """Return a manifest with one more column of its file, be it of `SCHEMA` or a user's own.

    Raises:
        ManifestError: The file has no such column.
    """
    if name in manifest.table.column_names:
        return manifest
    path = manifest_file(path)
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        if name not in names:
            msg = (
                f"{path} has no column {name!r}{did_you_mean(name, names)}: expected one of "
                f"{', '.join(names)}"
            )
            raise ManifestError(msg)
        column = file.read(columns=[name])[name]
    return manifest.with_table(manifest.table.append_column(name, column))


def rewrite(source: Path, changed: Manifest, path: Path) -> None:
    """Write a manifest again, with some columns and the settings of another.

    Args:
        source: The manifest.
        changed: Has `case_id` and the columns that change, for the same cases in the same order.
        path: The new file; may be `source`.

    Raises:
        ManifestError: See `write_manifest`; or `source` no longer holds these cases.
    """
    with open_parquet(manifest_file(source)) as file:
        rows = pa.Table.from_batches([], file.schema_arrow)
    head = changed.with_table(_beside(pa.Table.from_batches([], SCHEMA), rows))
    write_manifest(head, path, _with_columns(source, changed.table))


def users_columns(path: Path) -> list[str]:
    """Return the names of the columns that a user added to a manifest.

    SQL knows no upper and lower case in names: what it would take for another column is left out.

    Raises:
        ManifestError: See `read_head`.
    """
    with open_parquet(manifest_file(path)) as file:
        names = file.schema_arrow.names
    known = Counter(name.lower() for name in names)
    return [n for n in names if n not in SCHEMA.names and known[n.lower()] == 1]


def with_users_columns(manifest: Manifest, path: Path, *, tables: bool = False) -> Manifest:
    """Return a manifest with the columns that a user added to the older one at `path`.

    Those of datasets' tables are among them only with `tables`: `prepare` knows newer ones. A case
    that is new there has none of their values; so has every case if `path` is not readable.
    """
    try:
        with open_parquet(path) as file:
            known = {*SCHEMA.names, *manifest.table.column_names}
            names = [
                n
                for n in file.schema_arrow.names
                if n not in known and (tables or not n.startswith(TABLE_PREFIX))
            ]
            old = file.read(columns=["case_id", *names]) if names else None
    except ManifestError:
        return manifest
    if old is None or "case_id" not in old.column_names:
        return manifest
    place = {case_id: n for n, case_id in enumerate(old["case_id"].to_pylist())}
    places = [place.get(case_id) for case_id in manifest.table["case_id"].to_pylist()]
    rows = old.take(arrow_array(places, pa.int64()))
    return manifest.with_table(_beside(manifest.table, rows))


def _beside(table: pa.Table, rows: pa.Table) -> pa.Table:
    """Return a table of `SCHEMA` with the columns of the same rows that are a user's own."""
    for field in rows.schema:
        if field.name not in SCHEMA.names:
            table = table.append_column(field.with_nullable(True), rows[field.name])
    return table


def _with_columns(source: Path, columns: pa.Table) -> Iterator[pa.Table]:
    start = 0
    for part in read_row_groups(source, users=True):
        new = columns.slice(start, len(part))
        if not new["case_id"].equals(part.table["case_id"]):
            break
        yield set_columns(part.table, {name: new[name] for name in new.column_names})
        start += len(part)
    if start != columns.num_rows:
        msg = f"{source} was changed while it was being read; run the command again"
        raise ManifestError(msg)
