"""Hints for a condition that no case meets: the values that its columns have."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Sequence

import duckdb
from rich.text import Text

from manifests.ground.near_names import near_names
from manifests.table.sql import SelectedCases
from manifests.views.table_style import plain, short

LITERAL = re.compile(r"'((?:[^']|'')*)'")
NONE_THERE = "no value"
MOST_SHOWN = 8  # values of one column
MOST_COMPARED = 1000  # beyond, no value is proposed for one that is not there


def filter_hints(cases: SelectedCases, where: str) -> Text:
    """Say that no case matches, and list the values of the condition's columns and near ones."""
    text = Text.assemble("no case matches ", plain(where, "bold"))
    known: dict[str, str] = {}  # by their small letters
    words = set(re.findall(r"\w+", LITERAL.sub(" ", where).lower()))
    columns = [name for name in cases.every.columns if name.lower() in words]
    for n, column in enumerate(columns):
        values, to_compare = _values(cases.every, column)
        text.append_text(Text.assemble("; " if n else ": ", f"{column} has ", values))
        known |= {value.lower(): value for value in to_compare}
    for quoted in LITERAL.findall(where):
        literal = quoted.replace("''", "'")
        near = near_names(literal, sorted(known.values()))
        if near and literal not in known.values():
            hint = plain(repr(near[0]), "bold")
            text.append_text(Text.assemble("; did you mean ", hint, "?"))
    return text


def _values(rows: duckdb.DuckDBPyRelation, column: str) -> tuple[Text, Sequence[str]]:
    """Return a column's values for people, and those to compare a literal with."""
    listed = str(rows.types[rows.columns.index(column)]).endswith("[]")
    single = rows.project(f"{_single(column, listed=listed)} as value").filter("value is not null")
    if str(single.types[0]) != "VARCHAR":
        ((least, greatest),) = single.aggregate("min(value), max(value)").fetchall()
        return Text(NONE_THERE if least is None else f"{short(least)} to {short(greatest)}"), ()
    distinct = single.distinct().order("value").limit(MOST_COMPARED + 1)
    texts = [str(value) for (value,) in distinct.fetchall()]
    shown = Text(", ").join(plain(text) for text in texts[:MOST_SHOWN] or [NONE_THERE])
    if len(texts) > MOST_COMPARED:
        return shown.append(" and many more"), ()
    if len(texts) > MOST_SHOWN:
        shown.append(f" and {len(texts) - MOST_SHOWN} more")
    return shown, texts


def _single(column: str, *, listed: bool) -> str:
    """Return SQL for the values of a column one by one."""
    if column == "findings":
        return "unnest([f.code for f in findings])"
    return f'unnest("{column}", recursive := true)' if listed else f'"{column}"'
