"""Diff: what became of the cases from one manifest to another."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from pydantic_core import to_json

from manifests.ground.errors import ManifestError
from manifests.table.case import PATHS, SCHEMA
from manifests.table.manifest import Manifest, read_manifest
from manifests.table.sql import database, rows_of

OLD, NEW = "old_cases", "new_cases"
LONG = ("fingerprint",)  # nine tenths of a manifest; compared by its hash
ABSENT = "(not there)"


@dataclass(frozen=True)
class Change:
    """One cell that changed; its old and its new value are plain Python values."""

    case_id: str
    column: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Difference:
    """One entry of the label space or the settings that changed.

    Attributes:
        key: Its place, as in `split.seed` or `classes.0.name`.
        old: The value before, or `ABSENT`.
        new: The value now, or `ABSENT`.
    """

    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ManifestDiff:
    """The differences between an old and a new manifest.

    Attributes:
        changed: Cells of the other cases, by case id; for each column all, or as many as were
            asked for.
        changed_cases: How many of the other cases have a changed cell in a column, by column.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]
    label_space: tuple[Difference, ...]
    settings: tuple[Difference, ...]
    changed_cases: dict[str, int] = field(default_factory=dict[str, int])

    def __bool__(self) -> bool:
        """Return whether there is any difference."""
        return any(asdict(self).values())

    def to_json(self) -> str:
        """Return the differences as JSON."""
        return to_json(self, indent=2, inf_nan_mode="null", ensure_ascii=True).decode()


def diff(old: Path, new: Path, *, examples: int | None = None) -> ManifestDiff:
    """Compare two manifests on disk by case id, column by column.

    A path changed if it reads otherwise and leads elsewhere: the files of a copied folder have
    not moved, nor have those that a manifest in another folder names from there.

    Args:
        old: The file, or the folder that holds `manifest.parquet`.
        new: The other one's.
        examples: How many changed cells of each column to list, the first by case id; None is
            all of them.

    Raises:
        ManifestError: See `read_manifest`.
    """
    heads = read_manifest(old, ["case_id"]), read_manifest(new, ["case_id"])
    with database() as db:
        try:
            rows_of(db, old).create_view(OLD)
            rows_of(db, new).create_view(NEW)
            return _diff(db, *heads, examples)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            msg = f"{old} and {new} cannot be compared: {error}"
            raise ManifestError(msg) from error


def _diff(
    db: duckdb.DuckDBPyConnection, old: Manifest, new: Manifest, examples: int | None
) -> ManifestDiff:
    """Compare the tables `OLD` and `NEW`, the rows of the manifests `old` and `new`."""
    folders = [f"{m.folder.resolve()}/".replace("'", "''") for m in (old, new)]
    db.execute("create temp table changes (place int, column_name text, case_id text)")
    for place, column in enumerate(SCHEMA.names):
        db.execute(
            f"insert into changes select {place}, '{column}', case_id "
            f"from {OLD} o join {NEW} n using (case_id) where {_changed(column, *folders)}"
        )
    counted = db.execute(
        "select column_name, count(distinct case_id) from changes "
        "group by place, column_name order by place"
    ).fetchall()
    changes = [c for column, _ in counted for c in _changes(db, column, examples)]
    return ManifestDiff(
        added=_only_in(db, NEW, OLD),
        removed=_only_in(db, OLD, NEW),
        changed=tuple(sorted(changes, key=lambda c: c.case_id)),
        label_space=tuple(_differences(old.label_space.model_dump(), new.label_space.model_dump())),
        settings=tuple(_differences(dict(old.settings), dict(new.settings))),
        changed_cases=dict(counted),
    )


def _changed(column: str, old_folder: str, new_folder: str) -> str:
    """Return SQL for whether a cell differs between `o` and `n`."""
    old, new = f"o.{column}", f"n.{column}"
    if column in LONG:
        return f"md5({old}) is distinct from md5({new})"
    moved = f" and '{old_folder}' || {old} is distinct from '{new_folder}' || {new}"
    return f"{old} is distinct from {new}{moved if column in PATHS else ''}"


def _changes(db: duckdb.DuckDBPyConnection, column: str, most: int | None) -> list[Change]:
    limit = "" if most is None else f"limit {most}"
    found = db.execute(
        f"select case_id, o.{column}, n.{column} from "
        "(select distinct case_id from changes "
        f"where column_name = '{column}' order by case_id {limit}) "
        f"join {OLD} o using (case_id) join {NEW} n using (case_id) "
        f"where o.{column} is distinct from n.{column}"
    )
    return [Change(case_id, column, before, after) for case_id, before, after in found.fetchall()]


def _only_in(db: duckdb.DuckDBPyConnection, one: str, other: str) -> tuple[str, ...]:
    found = db.execute(f"select case_id from {one} anti join {other} using (case_id) order by all")
    return tuple(case_id for (case_id,) in found.fetchall())


def _differences(old: Any, new: Any, key: str = "") -> Iterator[Difference]:  # noqa: ANN401
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(old.get(name, ABSENT), new.get(name, ABSENT), inner)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _differences(dict(enumerate(old)), dict(enumerate(new)), key)
    elif old != new:
        yield Difference(key, old, new)
