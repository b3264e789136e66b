"""The rows of a table that came with a dataset, with a type for each column."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from manifests.ground.errors import SourceError

Value = bool | int | float | str | None
Row = dict[str, Value]

SEPARATORS = ("\t", ";", ",")  # the first that the heading has
MISSING = frozenset({"", "n/a", "na", "nan", "null"})  # in small letters; `n/a` is that of BIDS
INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")  # 007 is a name
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?")
TRUTH = {"true": True, "false": False}


def read_rows(path: Path, *, texts: Collection[str] = ()) -> list[Row]:
    """Read a CSV or TSV file, or a JSON file with a list of records.

    A column whose texts are all whole numbers, numbers, or `true` and `false` becomes one of these,
    unless it is named in `texts`. JSON says itself what is a number. A record in a record becomes
    columns of both names, joined by `_`; a list becomes its JSON text.

    Raises:
        SourceError: It is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _records(text) if path.suffix.lower() == ".json" else _lines(text, texts)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        msg = (
            f"{path} cannot be used as a table of cases: expected CSV or TSV with a heading, or a "
            f"JSON list of records: {error}"
        )
        raise SourceError(msg) from error


def _lines(text: str, texts: Collection[str]) -> list[Row]:
    heading = text.partition("\n")[0]
    separator = next((s for s in SEPARATORS if s in heading), ",")
    names, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = [name.strip() for name in names]
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    for number, line in enumerate(lines, start=1):
        if len(line) != len(names):
            msg = f"row {number} has {len(line)} cells, and the heading {len(names)}: {line[:5]}"
            raise ValueError(msg)
    columns = {
        name: _typed([line[n] for line in lines], as_text=name in texts)
        for n, name in enumerate(names)
    }
    return [{name: column[n] for name, column in columns.items()} for n in range(len(lines))]


def _typed(cells: Sequence[str], *, as_text: bool) -> list[Value]:
    texts = [None if (t := cell.strip()).lower() in MISSING else t for cell in cells]
    kinds: tuple[Callable[[str], Value], ...] = () if as_text else (_truth, _integer, _number)
    for kind in kinds:
        values: list[Value] = [None if text is None else kind(text) for text in texts]
        if not any(v is None and t is not None for v, t in zip(values, texts, strict=True)):
            return values
    return list(texts)


def _truth(text: str) -> bool | None:
    return TRUTH.get(text.lower())


def _integer(text: str) -> int | None:
    return int(text) if INTEGER.fullmatch(text) else None


def _number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def _records(text: str) -> list[Row]:
    records = json.loads(text)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        msg = "the JSON is no list of records"
        raise ValueError(msg)
    rows = [dict(_flat(record, "")) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _flat(record: dict[str, Any], prefix: str) -> Iterable[tuple[str, Value]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        elif isinstance(value, list):
            yield f"{prefix}{name}", json.dumps(value)
        else:
            known = not (isinstance(value, float) and math.isnan(value))
            yield f"{prefix}{name}", value if known else None
