"""A manifest on disk by row groups, if all of its rows are too many for memory."""
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from manifests.ground.errors import ManifestError
from manifests.table.case import SCHEMA
from manifests.table.manifest import (
    Manifest,
    as_schema,
    manifest_file,
    open_parquet,
    read_head,
    set_columns,
    write_manifest,
)


def read_row_groups(path: Path) -> Iterator[Manifest]:
    """Read a manifest's rows in order, as one manifest for each row group of the file.

    Raises:
        ManifestError: See `read_manifest`.
    """
    path = manifest_file(path)
    head = read_head(path)
    with open_parquet(path) as file:
        # not `iter_batches`, which holds several row groups and takes twice as long
        for group in range(file.num_row_groups):
            yield head.with_table(as_schema(file.read_row_group(group), path))


def rewrite(source: Path, changed: Manifest, path: Path) -> None:
    """Write a manifest again, with some columns and the settings of another.

    Args:
        source: The manifest.
        changed: Has `case_id` and the columns that change, for the same cases in the same order.
        path: The new file; may be `source`.

    Raises:
        ManifestError: See `write_manifest`; or `source` no longer holds these cases.
    """
    head = changed.with_table(pa.Table.from_batches([], SCHEMA))
    write_manifest(head, path, _with_columns(source, changed.table))


def _with_columns(source: Path, columns: pa.Table) -> Iterator[pa.Table]:
    start = 0
    for part in read_row_groups(source):
        new = columns.slice(start, len(part))
        if not new["case_id"].equals(part.table["case_id"]):
            break
        yield set_columns(part.table, {name: new[name] for name in new.column_names})
        start += len(part)
    if start != columns.num_rows:
        msg = f"{source} was changed while it was being read; run the command again"
        raise ManifestError(msg)
