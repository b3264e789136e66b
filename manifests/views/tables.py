"""Tables for a terminal: the summary of a manifest, and the problems of one."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from manifests.changes.split_request import Amount, SplitRequest
from manifests.changes.splits import HELD_OUT
from manifests.classes.label_space import LabelSpace
from manifests.table.case import SPLITS
from manifests.table.summary import UNASSIGNED, DatasetSummary, Range, Summary
from manifests.views.table_style import (
    DASH,
    NONE,
    TIMES,
    add_row,
    folded,
    new_table,
    number,
    plain,
    right,
    short,
    unbroken,
)

if TYPE_CHECKING:
    from manifests.table.validate import Problem  # which reads volumes, and is slow to import

CLASSES_PER_TABLE = 7  # so that a table fits a terminal of 100 columns


def summary_view(summary: Summary, space: LabelSpace) -> Group:
    """Return a summary as tables."""
    parts: list[RenderableType] = [_heading(summary), "", splits_table(summary)]
    parts += ["", _licences_table(summary)]
    for part in _parts(len(summary.classes)):
        parts += ["", _classes_table(summary, space, part)]
    parts += [_legend(), "", _geometry_table(summary)]
    if summary.findings:
        parts += ["", _findings_table(summary)]
    if summary.suspected:
        parts += ["", _suspected_table(summary)]
    return Group(*parts)


def splits_table(summary: Summary, request: SplitRequest | None = None) -> Table:
    """Return how many cases of each dataset are in which split, and numbers that were not met."""
    splits = [
        split
        for split in (*SPLITS, UNASSIGNED)
        if any(d.splits[split] or _asked(d, split, request) for d in summary.datasets)
    ]
    columns = [*unbroken("dataset"), *right("cases", "patients", *splits), "recipe"]
    table = new_table("Datasets", columns)
    for d in summary.datasets:
        cells = (_split_cell(d, split, request) for split in splits)
        sizes = number(d.cases), number(d.subjects)
        add_row(table, plain(d.name, "bold"), *sizes, *cells, ", ".join(d.recipes))
    if len(summary.datasets) > 1:
        sums = (number(sum(d.splits[s] for d in summary.datasets)) for s in splits)
        patients = Text(NONE, "dim")  # one patient may be in two datasets
        table.add_section()
        add_row(table, Text("all", "bold"), number(summary.cases), patients, *sums)
    return table


def problems_table(problems: "Sequence[Problem]") -> Table:
    """Return the problems of a manifest, one in each row."""
    rows = ((p.case_id, p.column, p.expected, p.got) for p in problems)
    return new_table(
        f"Problems: {len(problems)}", folded("case", "column", "expected", "got"), rows
    )


# Parts of the summary.


def _heading(summary: Summary) -> Text:
    facts = (
        ("cases", summary.cases),
        ("datasets", len(summary.datasets)),
        ("label space", summary.label_space),
        ("written by marginalia", summary.software_version),
    )
    parts = (Text.assemble((f"{name} ", "dim"), plain(value, "bold")) for name, value in facts)
    return Text("   ").join(parts)


def _split_cell(dataset: DatasetSummary, split: str, request: SplitRequest | None) -> Text:
    cell = number(dataset.splits[split])
    asked = _asked(dataset, split, request)
    short = asked != dataset.splits[split] if isinstance(asked, int) else not dataset.splits[split]
    if asked is not None and short:
        cell.append(f" (asked {asked})", "yellow")
    return cell


def _asked(dataset: DatasetSummary, split: str, request: SplitRequest | None) -> Amount | None:
    return request.amount(split, dataset.name) if request and split in HELD_OUT else None


def _licences_table(summary: Summary) -> Table:
    uses = {
        None: Text("unknown", "dim"),
        True: Text("yes", "dim"),
        False: Text("NO", "bold red"),
    }
    columns = [*unbroken("dataset"), *folded("licence", "commercial use", "accepted")]
    rows = (
        (plain(d.name, "bold"), ", ".join(d.licences), uses[d.commercial_use], d.accepted or NONE)
        for d in summary.datasets
    )
    return new_table("Licences", columns, rows)


def _classes_table(summary: Summary, space: LabelSpace, part: slice) -> Table:
    titles = (
        Text.assemble(("■ ", c.colour), (c.name.replace("_", " "), f"bold {c.colour}"))
        for c in space.classes[part]
    )
    table = new_table("Classes: annotated cases", [*unbroken("dataset"), *right(*titles)])
    for d in summary.datasets:
        cells = (_class_cell(c.annotated, c.absent, d.cases) for c in d.classes[part])
        add_row(table, plain(d.name, "bold"), *cells)
    if len(summary.datasets) > 1:
        table.add_section()
        columns = zip(*(d.classes[part] for d in summary.datasets), strict=True)
        cells = (
            _class_cell(sum(c.annotated for c in counts), sum(c.absent for c in counts))
            for counts in columns
        )
        add_row(table, Text("all", "bold"), *cells)
    return table


def _class_cell(annotated: int, absent: int, cases: int | None = None) -> Text:
    if not annotated:
        return Text(NONE, "dim")
    text = Text(str(annotated))
    if cases not in (None, annotated):
        text.append(f" of {cases}", "dim")
    if absent:
        text.append(f" ({absent} absent)", "yellow")
    return text


def _legend() -> Text:
    return Text.assemble(
        "24",
        (" annotated    ", "dim"),
        "24 of 30",
        (" not in every case    ", "dim"),
        ("(2 absent)", "yellow"),
        (f" known not to be there    {NONE} not annotated", "dim"),
    )


def _geometry_table(summary: Summary) -> Table:
    title = "Geometry: from least to greatest along x, y, z; before: along the file's axes"
    table = new_table(title, ("dataset", "", "before", "after"))
    for d in summary.datasets:
        spacings = _range(d.source_spacing_mm), _range(d.spacing_mm)
        add_row(table, plain(d.name, "bold"), Text("spacing, mm", "dim"), *spacings)
        add_row(table, "", Text("size, voxels", "dim"), _range(d.source_size), _range(d.size))
    return table


def _range(vectors: Range) -> str:
    pairs = zip(vectors.least, vectors.greatest, strict=True)
    return f" {TIMES} ".join(
        short(low) if short(low) == short(high) else f"{short(low)}{DASH}{short(high)}"
        for low, high in pairs
    )


def _findings_table(summary: Summary) -> Table:
    rows = (
        (
            f.code,
            number(sum(f.cases.values())),
            ", ".join(f"{name} {n}" for name, n in f.cases.items()),
            Text(f.meaning, "dim"),
        )
        for f in summary.findings
    )
    return new_table("Findings", [*unbroken("code"), *right("cases"), "datasets", "meaning"], rows)


def _suspected_table(summary: Summary) -> Table:
    title = "Labels to look at first: `--case ID` says why"
    rows = (
        (plain(s.case_id, "bold"), s.name, Text(f"{s.suspicion:.1f}", "yellow"))
        for s in summary.suspected
    )
    return new_table(title, [*unbroken("case"), "class", *right("suspicion")], rows)


def _parts(columns: int) -> list[slice]:
    """Return even parts of so many columns, none wider than a table may be."""
    count = math.ceil(columns / CLASSES_PER_TABLE)
    edges = (round(columns * i / count) for i in range(count + 1))
    return [slice(start, stop) for start, stop in pairwise(edges)]
