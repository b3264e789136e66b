"""Diff: what became of the cases from one manifest to another."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import pyarrow.compute as pc

from manifests.case import SCHEMA
from manifests.manifest import Manifest
from manifests.plain_json import plain_json
from manifests.query import CONFIG

PATHS = ("image", "label")
ABSENT = "(not there)"


@dataclass(frozen=True)
class Change:
    """One cell that changed.

    Attributes:
        case_id: The case.
        column: The column.
        old: What stood there, in plain Python values.
        new: What stands there now.
    """

    case_id: str
    column: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Difference:
    """One entry of the label space or the settings that changed.

    Attributes:
        key: Where it stands, as in `split.seed` or `classes.0.name`.
        old: What stood there.
        new: What stands there now.
    """

    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ManifestDiff:
    """What became of the cases from one manifest to another.

    Attributes:
        added: Ids of the cases that only the new one has.
        removed: Ids of the cases that only the old one has.
        changed: Cells of the other cases, by case id.
        label_space: Differences of the label spaces.
        settings: Differences of the settings.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]
    label_space: tuple[Difference, ...]
    settings: tuple[Difference, ...]

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any(asdict(self).values())

    def to_json(self) -> str:
        """The same for machines."""
        return plain_json(self)


def diff(old: Manifest, new: Manifest) -> ManifestDiff:
    """Compare two manifests by case id; a file that stayed where it was did not change."""
    return ManifestDiff(
        added=_only_in(new, old),
        removed=_only_in(old, new),
        changed=tuple(sorted(_changes(old, new), key=lambda c: c.case_id)),
        label_space=tuple(_differences(old.label_space.model_dump(), new.label_space.model_dump())),
        settings=tuple(_differences(dict(old.settings), dict(new.settings))),
    )


def _only_in(one: Manifest, other: Manifest) -> tuple[str, ...]:
    mine, theirs = (m.table["case_id"].combine_chunks() for m in (one, other))
    alone: list[Any] = mine.filter(pc.invert(pc.is_in(mine, value_set=theirs))).to_pylist()
    return tuple(sorted(alone))


def _changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    with duckdb.connect(":memory:", config=CONFIG) as connection:
        connection.register("old_cases", old.table)
        connection.register("new_cases", new.table)
        for column in SCHEMA.names:
            found = connection.execute(
                f"select case_id, o.{column}, n.{column} "
                "from old_cases o join new_cases n using (case_id) "
                f"where o.{column} is distinct from n.{column}"
            )
            for case_id, before, after in found.fetchall():
                if not (column in PATHS and old.folder / before == new.folder / after):
                    yield Change(case_id, column, before, after)


def _differences(old: Any, new: Any, key: str = "") -> Iterator[Difference]:  # noqa: ANN401
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(old.get(name, ABSENT), new.get(name, ABSENT), inner)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _differences(dict(enumerate(old)), dict(enumerate(new)), key)
    elif old != new:
        yield Difference(key, old, new)
