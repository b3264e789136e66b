"""Summary: the contents of a manifest, counted by dataset and class."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from pydantic_core import to_json

from manifests.classes.label_space import LabelSpace
from manifests.ground.findings import MEANINGS
from manifests.table.case import SPLITS
from manifests.table.dataset_facts import DatasetFacts, facts_of
from manifests.table.sql import SelectedCases

UNASSIGNED = "unassigned"
RANGES = ("source_spacing_mm", "spacing_mm", "source_size", "size")
MOST_SUSPECTED = 10
UNKNOWN_CODE = "not known to this version"


@dataclass(frozen=True)
class ClassCount:
    """How one class is annotated in one dataset, in numbers of cases.

    Attributes:
        annotated: Their annotation tells the class apart from every other class.
        present: Annotated cases in which the class has voxels.
        absent: Annotated cases in which it has none.
        not_annotated: All other cases.
    """

    name: str
    annotated: int
    present: int
    absent: int
    not_annotated: int


@dataclass(frozen=True)
class Range:
    """The least and the greatest values of vectors, along each axis."""

    least: tuple[float, ...]
    greatest: tuple[float, ...]


@dataclass(frozen=True)
class DatasetSummary:
    """The numbers of one dataset.

    Spacings, and sizes in voxels, of the source are along the file's axes, others along x, y, z.

    Attributes:
        splits: Number of cases by split; those without one are `unassigned`.
        commercial_use: Whether the licences allow it; None if the manifest does not say.
        accepted: When the licence was accepted, and how; None if nothing was downloaded.
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
    """The number of cases with a finding, by dataset."""

    code: str
    meaning: str
    cases: dict[str, int]


@dataclass(frozen=True)
class SuspectedLabel:
    """A label that a finding doubts, and how much."""

    case_id: str
    name: str
    suspicion: float


@dataclass(frozen=True)
class Summary:
    """The numbers of a manifest, with the names of its label space and foreground classes."""

    label_space: str
    classes: tuple[str, ...]
    cases: int
    datasets: tuple[DatasetSummary, ...]
    findings: tuple[FindingCount, ...]
    suspected: tuple[SuspectedLabel, ...]
    software_version: str

    def to_json(self) -> str:
        """Return the summary as JSON."""
        return to_json(self, indent=2, inf_nan_mode="null", ensure_ascii=True).decode()


def summarise(cases: SelectedCases) -> Summary:
    """Count the cases by dataset, class and finding."""
    space = cases.head.label_space
    facts = facts_of(cases.head.settings)
    rows: dict[str, dict[str, Any]] = {}
    for query in (_datasets_query(), SUBJECTS_QUERY, _classes_query(space)):
        for row in _fetch(cases.connection, query):
            rows.setdefault(row["dataset"], {}).update(row)
    return Summary(
        label_space=space.name,
        classes=space.names[1:],
        cases=sum(row["cases"] for row in rows.values()),
        datasets=tuple(_dataset(row, space, facts.get(name)) for name, row in rows.items()),
        findings=tuple(_findings(_fetch(cases.connection, FINDINGS_QUERY))),
        suspected=tuple(_suspected(_fetch(cases.connection, SUSPECTED_QUERY), space)),
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
# the list is unnested twice side by side, which pairs each value with its class id
SUSPECTED_QUERY = f"""
    select case_id, class_id, suspicion
    from (
        select case_id, unnest(range(len(suspicion)))::int as class_id,
            unnest(suspicion) as suspicion
        from cases where list_max(suspicion) >= 1
    )
    where suspicion >= 1 order by suspicion desc, case_id, class_id limit {MOST_SUSPECTED}
"""


def _datasets_query() -> str:
    """Return a query for one row per dataset, by way of the few kinds of case with equal texts."""
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
    """Return a query for one row per dataset."""
    counts = ""
    for class_id, name in enumerate(space.names[1:], start=1):
        annotated = f"list_contains(annotated, '{name}')"  # a class name is [a-z0-9_]
        counts += f"""
            , count(*) filter ({annotated}) as annotated_{class_id}
            , count(*) filter ({annotated} and voxels[{class_id + 1}] > 0) as present_{class_id}
        """
    return f"select dataset {counts} from cases group by dataset"


def _cases_if(condition: str, name: str) -> str:
    return f"coalesce(sum(n) filter ({condition}), 0)::bigint as {name}"


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    return connection.sql(query).to_arrow_table().to_pylist()


def _dataset(row: dict[str, Any], space: LabelSpace, facts: DatasetFacts | None) -> DatasetSummary:
    acceptance = facts.acceptance if facts else None
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
        accepted=acceptance and f"{acceptance.accepted_at:%Y-%m-%d}, {acceptance.accepted_by}",
        recipes=tuple(row["recipes"]),
        **ranges,
    )


def _along(row: dict[str, Any], column: str) -> tuple[float, ...]:
    """Return the values of three columns, one for each axis; NaN if there is none."""
    values = (row[f"{column}_{axis}"] for axis in (1, 2, 3))
    return tuple(math.nan if value is None else value for value in values)


def _class_count(row: dict[str, Any], class_id: int, name: str) -> ClassCount:
    annotated, present = row[f"annotated_{class_id}"], row[f"present_{class_id}"]
    return ClassCount(name, annotated, present, annotated - present, row["cases"] - annotated)


def _findings(rows: Sequence[dict[str, Any]]) -> Iterator[FindingCount]:
    for code in dict.fromkeys(row["code"] for row in rows):
        cases = {row["dataset"]: row["cases"] for row in rows if row["code"] == code}
        yield FindingCount(code, MEANINGS.get(code, UNKNOWN_CODE), cases)


def _suspected(rows: Sequence[dict[str, Any]], space: LabelSpace) -> Iterator[SuspectedLabel]:
    for row in rows:
        class_id: int = row["class_id"]
        yield SuspectedLabel(row["case_id"], space.names[class_id], row["suspicion"])
