"""The manifest: a Parquet file that says who labelled what."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import whole_file
from manifests.ground.errors import ManifestError
from manifests.ground.near_names import did_you_mean
from manifests.table.arrays import arrow_array, arrow_table
from manifests.table.case import LATER, PATHS, SCHEMA, Case
from manifests.table.rows import cases_of

SCHEMA_VERSION = 2
SUFFIX = ".parquet"
FILE_NAME = "manifest.parquet"
ROWS_IN_GROUP = 20_000  # as much as is read to show one case


@dataclass(frozen=True)
class Manifest:
    """One row per case, and what holds for all of them.

    Attributes:
        table: The rows, in `SCHEMA`, or some of their columns.
        label_space: The classes that the label volumes hold.
        folder: The rows' paths are relative to it.
        settings: The resolved settings of each step that made it (`prepare`, `split`, `edits`).
        software_version: The marginalia that wrote it.
    """

    table: pa.Table
    label_space: LabelSpace
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    software_version: str = field(default_factory=lambda: version("marginalia"))

    @classmethod
    def of(
        cls,
        cases: Iterable[Case],
        label_space: LabelSpace,
        *,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a manifest of `cases`, ordered by case id."""
        rows = [c.to_row() for c in sorted(cases, key=lambda c: c.case_id)]
        return cls(arrow_table(rows, SCHEMA), label_space, folder, settings or {})

    def __len__(self) -> int:
        """Return the number of cases."""
        return self.table.num_rows

    def cases(self) -> Iterator[Case]:
        """Return the rows as cases, in order; of a column that was not read, they know nothing."""
        shared: dict[Any, Any] = {}
        for rows in self.table.to_batches(max_chunksize=ROWS_IN_GROUP):
            try:
                yield from cases_of(rows, shared)
            except (KeyError, TypeError):  # a cell is not as it must be: say of which case
                yield from map(_as_case, rows.to_pylist())

    def case_ids(self) -> list[str]:
        """Return the ids of all cases in the order of the rows."""
        ids: list[Any] = self.table["case_id"].to_pylist()
        return ids

    def datasets(self) -> tuple[str, ...]:
        """Return the names of the datasets, sorted."""
        names: list[Any] = self.table["dataset"].unique().to_pylist()
        return tuple(sorted(names))

    def case(self, case_id: str) -> Case:
        """Return the case of that id.

        Raises:
            ManifestError: There is none.
        """
        row: int = self.table["case_id"].index(case_id).as_py()
        if row < 0:
            ids: list[Any] = self.table["case_id"].to_pylist()
            msg = f"no case {case_id!r} among {len(self)}{did_you_mean(case_id, ids)}"
            raise ManifestError(msg)
        return _as_case(self.table.slice(row, 1).to_pylist()[0])

    def path(self, relative: str) -> Path:
        """Return the path of the file that a row names as its `image` or `label`.

        Raises:
            ManifestError: The path leaves the manifest's folder, by `..`, as an absolute path or
                through a link.
        """
        pure = PurePosixPath(relative)
        path = self.folder / pure
        try:
            inside = self.folder.resolve() in path.resolve().parents
        except (OSError, RuntimeError, ValueError):  # a loop of links, or a zero byte
            inside = False
        if pure.is_absolute() or ".." in pure.parts or "\\" in relative or not inside:
            msg = f"the path {relative!r} leaves the manifest's folder {self.folder}: refused"
            raise ManifestError(msg)
        return path

    def with_table(self, table: pa.Table, **settings: Any) -> Self:  # noqa: ANN401
        """Return the manifest with other rows, and the settings of the step that made them."""
        return replace(self, table=table, settings={**self.settings, **settings})

    def with_columns(self, columns: Mapping[str, Any], **settings: Any) -> Self:  # noqa: ANN401
        """Return the manifest with other values in some columns; see `with_table`."""
        return self.with_table(set_columns(self.table, columns), **settings)


def set_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return a table of `SCHEMA` with other values in some columns, lists or Arrow's."""
    for name, values in columns.items():
        field = SCHEMA.field(name)
        column = values if isinstance(values, pa.ChunkedArray) else arrow_array(values, field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return table


def manifest_file(path: Path) -> Path:
    """Return the manifest's file, given its own path or that of the folder that holds it."""
    return path / FILE_NAME if path.is_dir() else path


def read_manifest(
    path: Path, columns: Sequence[str] = tuple(SCHEMA.names), *, unique: bool = True
) -> Manifest:
    """Read a manifest, or some of its columns.

    Args:
        path: The file, or the folder that holds `manifest.parquet`.
        columns: Their names.
        unique: Refuse two rows of one `case_id`, if that is among the columns.

    Raises:
        ManifestError: The file is not there, not Parquet, not a manifest, or of another schema, or
            two rows have one `case_id`.
    """
    path = manifest_file(path)
    with open_parquet(path) as file:
        manifest = _as_manifest(file.read(columns=list(columns)), path, columns)
    if unique and "case_id" in columns:
        _require_unique(manifest.table, path)
    return manifest


def column_bytes(path: Path, name: str) -> int:
    """Return how much memory a column of a manifest takes once it is read; 0 if there is none.

    Raises:
        ManifestError: See `read_manifest`.
    """
    with open_parquet(manifest_file(path)) as file:
        groups = (file.metadata.row_group(n) for n in range(file.num_row_groups))
        chunks = (group.column(n) for group in groups for n in range(group.num_columns))
        return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == name)


def _require_unique(table: pa.Table, path: Path) -> None:
    case_ids = table["case_id"]
    if len(case_ids.unique()) == len(case_ids):
        return
    ids: list[Any] = case_ids.to_pylist()
    case_id, rows = Counter(ids).most_common(1)[0]
    msg = (
        f"{path}: expected one row of each case_id, got {rows} of {case_id!r}; leave rows out, or "
        f"prepare the datasets into one folder; `marginalia validate` lists all such cases"
    )
    raise ManifestError(msg)


def read_head(path: Path) -> Manifest:
    """Read a manifest without its rows: only the end of the file.

    Raises:
        ManifestError: See `read_manifest`.
    """
    path = manifest_file(path)
    with open_parquet(path) as file:
        # not `empty_table`, which imports pandas
        return _as_manifest(pa.Table.from_batches([], file.schema_arrow), path)


def has_schema(path: Path) -> bool:
    """Return whether the columns of a file have the types of `SCHEMA`, and SQL finds them by name.

    To SQL, which knows no upper and lower case in names, a further column may be one of these too.
    """
    with open_parquet(manifest_file(path)) as file:
        stored = file.schema_arrow
    alike = [name for name in stored.names if name.lower() in SCHEMA.names]
    return len(alike) == len(SCHEMA) and all(
        name in stored.names and stored.field(name).equals(SCHEMA.field(name))
        for name in SCHEMA.names
    )


@contextmanager
def open_parquet(path: Path) -> Generator[pq.ParquetFile]:
    """Open a manifest's file.

    Raises:
        ManifestError: It is not there, not Parquet, or damaged where the block reads it.
    """
    if not path.is_file():
        msg = f"no manifest at {path}; `marginalia prepare` writes one"
        raise ManifestError(msg)
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read as a manifest: {error}"
        raise ManifestError(msg) from error


def write_manifest(
    manifest: Manifest, path: Path, tables: Iterable[pa.Table] | None = None
) -> None:
    """Write a manifest as a whole file; its rows' paths are made relative to `path`.

    Args:
        manifest: The manifest.
        path: The new file.
        tables: The rows in several tables, if `manifest.table` does not have them.

    Raises:
        ManifestError: `path` lies beside or below the folder that holds the cases, or is not
            called `*.parquet`.
    """
    prefix = prefix_for(manifest, path)
    metadata = {
        "marginalia.schema_version": str(SCHEMA_VERSION),
        "marginalia.software_version": manifest.software_version,
        "marginalia.label_space": manifest.label_space.model_dump_json(),
        "marginalia.settings": json.dumps(manifest.settings, sort_keys=True),
    }
    schema = manifest.table.schema.with_metadata(metadata)
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in [manifest.table] if tables is None else tables:
            writer.write_table(_below(prefix, table), row_group_size=ROWS_IN_GROUP)


def prefix_for(manifest: Manifest, path: Path) -> str:
    """Return what to put before a manifest's paths where it is written to a new file.

    Raises:
        ManifestError: It cannot be written there; see `write_manifest`.
    """
    if path.suffix != SUFFIX:
        msg = f"a manifest is called *{SUFFIX}; got {path}"
        raise ManifestError(msg)
    here, there = manifest.folder.resolve(), path.parent.resolve()
    if not here.is_relative_to(there):
        msg = (
            f"a manifest in {there} cannot name cases in {here}: write it to that folder or to "
            f"one above it"
        )
        raise ManifestError(msg)
    return "" if here == there else f"{here.relative_to(there).as_posix()}/"


def _below(prefix: str, table: pa.Table) -> pa.Table:
    if not prefix:
        return table
    paths = {n: table[n].to_pylist() for n in PATHS}
    moved = {n: [p and f"{prefix}{p}" for p in column] for n, column in paths.items()}
    return set_columns(table, moved)


def _as_manifest(
    table: pa.Table, path: Path, columns: Sequence[str] = tuple(SCHEMA.names)
) -> Manifest:
    stored = table.schema.metadata or {}
    raw = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in stored.items()}
    found = raw.get("marginalia.schema_version")
    if found != str(SCHEMA_VERSION):
        msg = (
            f"{path}: expected a manifest of schema version {SCHEMA_VERSION}, got "
            f"{found or 'a Parquet file that is not a manifest'}; prepare it again, or use the "
            f"marginalia that wrote it ({raw.get('marginalia.software_version', 'unknown')})"
        )
        raise ManifestError(msg)
    try:
        head = Manifest(
            table,
            LabelSpace.model_validate_json(raw["marginalia.label_space"]),
            path.parent,
            _settings(raw["marginalia.settings"]),
            raw["marginalia.software_version"],
        )
    except (KeyError, ValueError, RecursionError) as error:
        msg = f"{path}: the manifest's metadata is damaged: {error}"
        raise ManifestError(msg) from error
    return head.with_table(as_schema(table, path, columns))


def _settings(text: str) -> dict[str, Any]:
    settings = json.loads(text)
    if not isinstance(settings, dict) or not isinstance(settings.get("edits", []), list):
        msg = f"expected settings by name, and a list of edits, got {text[:100]}"
        raise ValueError(msg)
    return settings


def as_schema(table: pa.Table, path: Path, names: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """Return the columns of those names with the types of `SCHEMA`.

    Columns that an older manifest does not have yet get their defaults.

    Raises:
        ManifestError: One is missing, or of another kind.
    """
    for name in (n for n in LATER if n in names and n not in table.column_names):
        # written before there was the column
        value = pa.scalar(LATER[name], SCHEMA.field(name).type)
        table = table.append_column(SCHEMA.field(name), pa.repeat(value, table.num_rows))
    if missing := [n for n in names if n not in table.column_names]:
        msg = f"{path}: columns are missing: {', '.join(missing)}"
        raise ManifestError(msg)
    selected, schema = table.select(names), pa.schema([SCHEMA.field(n) for n in names])
    if selected.schema.equals(schema):
        return pa.Table.from_arrays(selected.columns, schema=schema)
    try:
        return selected.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        msg = f"{path}: columns are not of the manifest's schema: {error}"
        raise ManifestError(msg) from error


def _as_case(row: dict[str, Any]) -> Case:
    try:
        return Case.from_row(row)
    except (KeyError, TypeError) as error:
        msg = f"case {row['case_id']}: {error.args[0]}; use the marginalia that wrote the manifest"
        raise ManifestError(msg) from error
