"""Summary: what a manifest holds, counted by dataset and class."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from manifests.case import SPLITS
from manifests.dataset_facts import Acceptance, DatasetFacts, facts_of
from manifests.findings import MEANINGS
from manifests.label_space import LabelSpace
from manifests.manifest import Manifest
from manifests.plain_json import plain_json
from manifests.stored import StoredCases, in_memory

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


def summarise(manifest: Manifest) -> Summary:
    """Count what a manifest holds, column by column."""
    with in_memory(manifest) as cases:
        return summary_of(cases)


def summary_of(cases: StoredCases) -> Summary:
    """Count what some cases hold."""
    space = cases.head.label_space
    facts = facts_of(cases.head.settings)
    rows = _fetch(cases.connection, _datasets_query())
    counts = {row["dataset"]: row for row in _fetch(cases.connection, _classes_query(space))}
    found = _fetch(cases.connection, FINDINGS_QUERY)
    return Summary(
        label_space=space.name,
        classes=space.names[1:],
        cases=sum(row["cases"] for row in rows),
        datasets=tuple(
            _dataset(row | counts[row["dataset"]], space, facts.get(row["dataset"])) for row in rows
        ),
        findings=tuple(_findings(found)),
        software_version=cases.head.software_version,
    )


FINDINGS_QUERY = """
    select code, dataset, count(distinct case_id) as cases
    from (select case_id, dataset, unnest(findings).code as code from cases)
    group by code, dataset order by code, dataset
"""


def _datasets_query() -> str:
    """One row for each dataset."""
    columns = [
        "dataset",
        "count(*) as cases",
        "count(distinct subject_id) as subjects",
        "list_sort(list(distinct licence)) as licences",
        "list_sort(list(distinct recipe || ' ' || recipe_version)) as recipes",
        *(f"count(*) filter (split = '{split}') as {split}" for split in SPLITS),
        f"count(*) filter (split is null) as {UNASSIGNED}",
        *(column for name in RANGES for column in _range_columns(name)),
    ]
    return f"select {', '.join(columns)} from cases group by dataset order by dataset"


def _classes_query(space: LabelSpace) -> str:
    """One row for each dataset; what the cases annotate is looked at once for each kind of case."""
    ids = range(1, len(space))
    present = ", ".join(f"count(*) filter (voxels[{n + 1}] > 0) as voxels_{n}" for n in ids)
    kinds = f"select dataset, annotated, count(*) as n, {present} from cases group by all"
    sums = ", ".join(column for n in ids for column in _class_columns(n, space.names[n]))
    return f"select dataset, {sums} from ({kinds}) group by dataset"


def _class_columns(class_id: int, name: str) -> Iterator[str]:
    told_apart = f"filter (list_contains(annotated, '{name}'))"  # a class name is [a-z0-9_]
    for count, column in (("n", "annotated"), (f"voxels_{class_id}", "present")):
        yield f"coalesce(sum({count}) {told_apart}, 0)::bigint as {column}_{class_id}"


def _range_columns(name: str) -> Iterator[str]:
    for function in ("min", "max"):
        axes = ", ".join(f"{function}({name}[{axis}])" for axis in (1, 2, 3))
        yield f"[{axes}] as {function}_{name}"


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    result = connection.execute(query)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _dataset(row: dict[str, Any], space: LabelSpace, facts: DatasetFacts | None) -> DatasetSummary:
    ranges = {
        name: Range(_numbers(row[f"min_{name}"]), _numbers(row[f"max_{name}"])) for name in RANGES
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


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _class_count(row: dict[str, Any], class_id: int, name: str) -> ClassCount:
    annotated, present = row[f"annotated_{class_id}"], row[f"present_{class_id}"]
    return ClassCount(name, annotated, present, annotated - present, row["cases"] - annotated)


def _findings(rows: Sequence[dict[str, Any]]) -> Iterator[FindingCount]:
    for code in dict.fromkeys(row["code"] for row in rows):
        cases = {row["dataset"]: row["cases"] for row in rows if row["code"] == code}
        yield FindingCount(code, MEANINGS.get(code, UNKNOWN_CODE), cases)
