"""A manifest on disk in columns or pieces, where all of its rows are too much at once."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from manifests.ground.errors import ManifestError
from manifests.table.case import SCHEMA
from manifests.table.manifest import (
    Manifest,
    as_schema,
    manifest_file,
    opened,
    read_head,
    write_tables,
)


def read_columns(path: Path, names: Sequence[str]) -> Manifest:
    """A manifest with some of its columns, for what asks for no other.

    Raises:
        ManifestError: As of `read_manifest`.
    """
    path = manifest_file(path)
    head = read_head(path)
    with opened(path) as file:
        return head.with_table(as_schema(file.read(columns=list(names)), path, names))


def pieces(path: Path) -> Iterator[Manifest]:
    """A manifest's rows in order, as one manifest for each row group of the file.

    Raises:
        ManifestError: As of `read_manifest`.
    """
    path = manifest_file(path)
    head = read_head(path)
    with opened(path) as file:
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
        ManifestError: As of `write_manifest`, or `source` no longer holds these cases.
    """
    head = changed.with_table(pa.Table.from_batches([], SCHEMA))
    write_tables(head, _with_columns(source, changed.table), path)


def _with_columns(source: Path, columns: pa.Table) -> Iterator[pa.Table]:
    start = 0
    for piece in pieces(source):
        new, table = columns.slice(start, len(piece)), piece.table
        if not new["case_id"].equals(table["case_id"]):
            break
        for name in new.column_names:
            index = SCHEMA.get_field_index(name)
            table = table.set_column(index, SCHEMA.field(name), new[name])
        yield table
        start += len(piece)
    if start != columns.num_rows:
        msg = f"{source} was changed while it was being read; run the command again"
        raise ManifestError(msg)
