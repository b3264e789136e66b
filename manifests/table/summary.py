"""Summary: what a manifest holds, counted by dataset and class."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from manifests.classes.label_space import LabelSpace
from manifests.ground.findings import MEANINGS
from manifests.ground.plain_json import plain_json
from manifests.table.case import SPLITS
from manifests.table.dataset_facts import Acceptance, DatasetFacts, facts_of
from manifests.table.sql import SelectedCases

UNASSIGNED = "unassigned"
RANGES = ("source_spacing_mm", "spacing_mm", "source_size", "size")
UNKNOWN_CODE = "not known to this version"


@dataclass(frozen=True)
class ClassCount:
    """How one class is annotated in one dataset.

    Attributes:
        name: The class.
        annotated: Cases whose annotation tells it apart from every other class.
        present: Those of them where it has voxels.
        absent: Those of them where it has none: known not to be there.
        not_annotated: Cases that say nothing of the class by itself.
    """

    name: str
    annotated: int
    present: int
    absent: int
    not_annotated: int


@dataclass(frozen=True)
class Range:
    """The least and the greatest of some vectors, along each axis."""

    least: tuple[float, ...]
    greatest: tuple[float, ...]


@dataclass(frozen=True)
class DatasetSummary:
    """What a manifest holds of one dataset.

    Attributes:
        name: The dataset.
        cases: Number of cases.
        subjects: Number of patients.
        splits: Number of cases by split; `unassigned` is those of no split.
        classes: In the order of the label space.
        source_spacing_mm: Before, along the file's axes.
        spacing_mm: After, along x, y, z.
        source_size: Voxels before, along the file's axes.
        size: Voxels after, along x, y, z.
        licences: As the recipe tells them.
        commercial_use: Whether they allow it; None if the manifest does not say.
        accepted: When the licence was accepted, and how; None where nothing was downloaded.
        recipes: Recipes and their versions.
    """

    name: str
    cases: int
    subjects: int
    splits: dict[str, int]
    classes: tuple[ClassCount, ...]
    source_spacing_mm: Range
    spacing_mm: Range
    source_size: Range
    size: Range
    licences: tuple[str, ...]
    commercial_use: bool | None
    accepted: str | None
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class FindingCount:
    """How often something was noticed.

    Attributes:
        code: The finding's code.
        meaning: What the code means.
        cases: Number of cases, by dataset.
    """

    code: str
    meaning: str
    cases: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """What a manifest holds.

    Attributes:
        label_space: Name of the label space.
        classes: Names of the foreground classes.
        cases: Number of cases.
        datasets: By name.
        findings: By code.
        software_version: The marginalia that wrote the manifest.
    """

    label_space: str
    classes: tuple[str, ...]
    cases: int
    datasets: tuple[DatasetSummary, ...]
    findings: tuple[FindingCount, ...]
    software_version: str

    def to_json(self) -> str:
        """The same for machines."""
        return plain_json(self)


def summarise(cases: SelectedCases) -> Summary:
    """Count what some cases hold, column by column."""
    space = cases.head.label_space
    facts = facts_of(cases.head.settings)
    rows = _fetch(cases.connection, _datasets_query())
    by_dataset = (SUBJECTS_QUERY, _classes_query(space))
    subjects, counts = (
        {row["dataset"]: row for row in _fetch(cases.connection, query)} for query in by_dataset
    )
    found = _fetch(cases.connection, FINDINGS_QUERY)
    return Summary(
        label_space=space.name,
        classes=space.names[1:],
        cases=sum(row["cases"] for row in rows),
        datasets=tuple(
            _dataset(row | subjects[name] | counts[name], space, facts.get(name))
            for row in rows
            for name in [row["dataset"]]
        ),
        findings=tuple(_findings(found)),
        software_version=cases.head.software_version,
    )


# Beside other columns, distinct values cost DuckDB several times as much as alone.
SUBJECTS_QUERY = "select dataset, count(distinct subject_id) as subjects from cases group by all"
FINDINGS_QUERY = """
    select code, dataset, count(*) as cases
    from (
        select dataset, unnest(list_distinct([f.code for f in findings])) as code
        from cases where len(findings) > 0
    )
    group by all order by all
"""


def _datasets_query() -> str:
    """One row for each dataset, of the few kinds of case that differ in their texts."""
    ends = [(name, end, axis) for name in RANGES for end in ("min", "max") for axis in (1, 2, 3)]
    within = ", ".join(f"{end}({name}[{axis}]) as {end}_{name}_{axis}" for name, end, axis in ends)
    kinds = f"""
        select dataset, split, licence, recipe, recipe_version, count(*) as n, {within}
        from cases group by all
    """
    columns = [
        "dataset",
        "sum(n)::bigint as cases",
        "list_sort(list(distinct licence)) as licences",
        "list_sort(list(distinct recipe || ' ' || recipe_version)) as recipes",
        *(_cases_if(f"split = '{split}'", split) for split in SPLITS),
        _cases_if("split is null", UNASSIGNED),
        *(f"{end}({end}_{name}_{axis}) as {end}_{name}_{axis}" for name, end, axis in ends),
    ]
    return f"select {', '.join(columns)} from ({kinds}) group by dataset order by dataset"


def _classes_query(space: LabelSpace) -> str:
    """One row for each dataset."""
    counts = ", ".join(
        column for n in range(1, len(space)) for column in _class_columns(n, space.names[n])
    )
    return f"select dataset, {counts} from cases group by dataset"


def _class_columns(class_id: int, name: str) -> Iterator[str]:
    told_apart = f"list_contains(annotated, '{name}')"  # a class name is [a-z0-9_]
    yield f"count(*) filter ({told_apart}) as annotated_{class_id}"
    yield f"count(*) filter ({told_apart} and voxels[{class_id + 1}] > 0) as present_{class_id}"


def _cases_if(condition: str, name: str) -> str:
    return f"coalesce(sum(n) filter ({condition}), 0)::bigint as {name}"


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    result = connection.execute(query)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _dataset(row: dict[str, Any], space: LabelSpace, facts: DatasetFacts | None) -> DatasetSummary:
    ranges = {
        name: Range(_along(row, f"min_{name}"), _along(row, f"max_{name}")) for name in RANGES
    }
    return DatasetSummary(
        name=row["dataset"],
        cases=row["cases"],
        subjects=row["subjects"],
        splits={split: row[split] for split in (*SPLITS, UNASSIGNED)},
        classes=tuple(_class_count(row, n, space.names[n]) for n in range(1, len(space))),
        licences=tuple(row["licences"]),
        commercial_use=facts.commercial_use if facts else None,
        accepted=_accepted(facts.acceptance) if facts and facts.acceptance else None,
        recipes=tuple(row["recipes"]),
        **ranges,
    )


def _accepted(acceptance: Acceptance) -> str:
    return f"{acceptance.accepted_at:%Y-%m-%d}, {acceptance.accepted_by}"


def _along(row: dict[str, Any], column: str) -> tuple[float, ...]:
    """The values of three columns, one for each axis; NaN where there is none."""
    values = (row[f"{column}_{axis}"] for axis in (1, 2, 3))
    return tuple(math.nan if value is None else value for value in values)


def _class_count(row: dict[str, Any], class_id: int, name: str) -> ClassCount:
    annotated, present = row[f"annotated_{class_id}"], row[f"present_{class_id}"]
    return ClassCount(name, annotated, present, annotated - present, row["cases"] - annotated)


def _findings(rows: Sequence[dict[str, Any]]) -> Iterator[FindingCount]:
    for code in dict.fromkeys(row["code"] for row in rows):
        cases = {row["dataset"]: row["cases"] for row in rows if row["code"] == code}
        yield FindingCount(code, MEANINGS.get(code, UNKNOWN_CODE), cases)
