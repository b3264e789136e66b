"""Query: the cases for which an SQL condition over the manifest's columns holds."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import duckdb
import pyarrow as pa

from manifests.ground.errors import ManifestError
from manifests.table.manifest import Manifest

ROW = "row_in_manifest"
# A condition reads columns and nothing else: no file, no network, no Python variable.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}


def filter_cases(manifest: Manifest, where: str) -> Manifest:
    """Keep the cases for which `where` holds, in their order.

    Args:
        manifest: The manifest.
        where: A DuckDB condition, as in `dataset = 'btcv' and list_contains(annotated, 'liver')`.

    Raises:
        ManifestError: `where` is no condition over the columns.
    """
    rows = pa.array(matching_rows(manifest, where), pa.int64())
    return manifest.with_table(manifest.table.take(rows))


def matching_rows(manifest: Manifest, where: str) -> list[int]:
    """Row numbers of the cases for which `where` holds, ascending; see `filter_cases`."""
    numbers = pa.array(range(len(manifest)), pa.int64())
    table = manifest.table.append_column(ROW, numbers)
    with duckdb.connect(":memory:", config=CONFIG) as connection:
        try:
            # `filter` parses one expression, so no second statement can follow it
            found = connection.from_arrow(table).filter(where).project(ROW).fetchall()
        except duckdb.Error as error:
            msg = (
                f"the filter {where!r} cannot be used: {error}\n"
                f"columns: {', '.join(manifest.table.column_names)}"
            )
            raise ManifestError(msg) from error
    return sorted(row for (row,) in found)
