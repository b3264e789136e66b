"""The record of what names and tables tell of a dataset's cases, and the columns made of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from curate.datasets.case_facts import CaseFacts
from curate.datasets.table_rows import Value
from manifests.ground.atomic import write_text
from manifests.table.arrays import arrow_array
from manifests.table.case import TABLE_PREFIX, Case
from manifests.table.manifest import Manifest

NAME = "facts.json"
SPLIT_COLUMN = f"{TABLE_PREFIX}split"

_BY_NAME = TypeAdapter(dict[str, CaseFacts])


def update_case_facts(
    datasets: Iterable[str], told: Mapping[str, Mapping[str, CaseFacts]], folder: Path
) -> dict[str, CaseFacts]:
    """Return what is known of cases by their ids, and keep it beside each dataset's cases.

    Args:
        datasets: All of the manifest's.
        told: What datasets tell of their cases today, by dataset and name. What they told before of
            cases that they do not have any more stays.
        folder: The output folder.
    """
    found: dict[str, CaseFacts] = {}
    for dataset in sorted(datasets):
        path = folder / "cases" / dataset / NAME
        known = _read(path)
        now = {**known, **told.get(dataset, {})}
        if now != known:
            write_text(path, _BY_NAME.dump_json(now, indent=1).decode() + "\n")
        found |= {f"{dataset}/{name}": facts for name, facts in now.items()}
    return found


def with_facts(cases: Sequence[Case], facts: Mapping[str, CaseFacts]) -> list[Case]:
    """Return the cases with their patients, and with what could not be known of them."""
    told = ((case, facts.get(case.case_id, CaseFacts())) for case in cases)
    return [
        replace(
            case,
            subject_id=f"{case.dataset}/{known.subject}" if known.subject else case.case_id,
            findings=(*case.findings, *known.findings),
        )
        for case, known in told
    ]


def with_table_columns(manifest: Manifest, facts: Mapping[str, CaseFacts]) -> Manifest:
    """Return a manifest with a column `table_NAME` for each column of the datasets' tables.

    A case that is made of others (`a+b`) has the values of the first.
    """
    ids: list[Any] = manifest.table["case_id"].to_pylist()
    of_rows = [facts.get(case_id.partition("+")[0], CaseFacts()) for case_id in ids]
    names = sorted(set(chain.from_iterable(f.columns for f in of_rows)))
    columns = {f"{TABLE_PREFIX}{n}": _column([f.columns.get(n) for f in of_rows]) for n in names}
    if any(f.split for f in of_rows):
        columns[SPLIT_COLUMN] = _column([f.split or f.columns.get("split") for f in of_rows])
    table = manifest.table
    for name, column in columns.items():
        table = table.append_column(name, column)
    return manifest.with_table(table)


def _column(values: Sequence[Value]) -> pa.ChunkedArray:
    """Return values of the narrowest type that holds those of all datasets: text holds any."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return arrow_array(values, pa.bool_())
    if kinds <= {int}:
        return arrow_array(values, pa.int64())
    if kinds <= {int, float}:
        return arrow_array(values, pa.float64())
    return arrow_array([None if v is None else _text(v) for v in values], pa.string())


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path) -> dict[str, CaseFacts]:
    try:
        return _BY_NAME.validate_json(path.read_bytes())
    except (OSError, ValidationError, KeyError):  # a finding of another version is a `KeyError`
        return {}
