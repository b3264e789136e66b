"""Hints for a condition that no case meets: the values that its columns have."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from rich.text import Text

from manifests.table.case import SCHEMA
from manifests.table.sql import SelectedCases
from manifests.views.table_style import plain, short

LITERAL = re.compile(r"'((?:[^']|'')*)'")
NONE_THERE = "no value"
MOST_SHOWN = 8  # values of one column
MOST_COMPARED = 1000  # beyond, no value is proposed for one that is not there


@dataclass(frozen=True)
class _Values:
    """What stands in a column, to read, and the texts that a literal may be meant for."""

    column: str
    words: Text
    texts: tuple[str, ...] = ()


def filter_hints(cases: SelectedCases, where: str) -> Text:
    """Say that no case matches, and list the values of the condition's columns and near ones."""
    text = Text.assemble("no case matches ", plain(where, "bold"))
    found = [_values(cases.every, name) for name in _columns_of(where)]
    for n, values in enumerate(found):
        text.append_text(Text.assemble("; " if n else ": ", f"{values.column} has ", values.words))
    for literal in LITERAL.findall(where):
        if near := _near(literal.replace("''", "'"), found):
            text.append_text(Text.assemble("; did you mean ", plain(repr(near), "bold"), "?"))
    return text


def _columns_of(where: str) -> list[str]:
    words = set(re.findall(r"\w+", LITERAL.sub(" ", where).lower()))
    return [name for name in SCHEMA.names if name in words]


def _values(rows: duckdb.DuckDBPyRelation, column: str) -> _Values:
    single = rows.project(f"{_single(column)} as value").filter("value is not null")
    if not pa.types.is_string(_innermost(column)):
        ((least, greatest),) = single.aggregate("min(value), max(value)").fetchall()
        words = NONE_THERE if least is None else f"{short(least)} to {short(greatest)}"
        return _Values(column, Text(words))
    distinct = single.distinct().order("value").limit(MOST_COMPARED + 1)
    texts = tuple(str(value) for (value,) in distinct.fetchall())
    compared = texts if len(texts) <= MOST_COMPARED else ()
    return _Values(column, _words(texts), compared)


def _single(column: str) -> str:
    """SQL for the values of a column one by one."""
    if column == "findings":
        return "unnest([f.code for f in findings])"
    listed = pa.types.is_list(SCHEMA.field(column).type)
    return f"unnest({column}, recursive := true)" if listed else column


def _innermost(column: str) -> pa.DataType:
    of = SCHEMA.field(column).type
    while pa.types.is_list(of):
        of = of.value_type
    return of.field("code").type if pa.types.is_struct(of) else of


def _words(texts: Sequence[str]) -> Text:
    words = Text(", ").join(plain(text) for text in texts[:MOST_SHOWN])
    if len(texts) > MOST_COMPARED:
        words.append(" and many more")
    elif len(texts) > MOST_SHOWN:
        words.append(f" and {len(texts) - MOST_SHOWN} more")
    return words if texts else Text(NONE_THERE)


def _near(literal: str, found: Sequence[_Values]) -> str | None:
    known = {text.lower(): text for values in found for text in values.texts}
    near = difflib.get_close_matches(literal.lower(), sorted(known), n=1)
    return known[near[0]] if near and literal not in known.values() else None
