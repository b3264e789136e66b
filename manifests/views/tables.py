"""Tables to read on a terminal: what a summary tells, and what a validation found."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from manifests.changes.splits import HELD_OUT, SplitRequest
from manifests.classes.label_space import LabelSpace
from manifests.table.case import SPLITS
from manifests.table.summary import UNASSIGNED, ClassCount, DatasetSummary, Range, Summary
from manifests.views.table_style import DASH, NONE, TIMES, new_table, number, plain, short

if TYPE_CHECKING:
    from manifests.table.validate import Problem  # which reads volumes, and is slow to import

CLASSES_PER_TABLE = 7  # so that a table fits a terminal of 100 columns


def summary_view(summary: Summary, space: LabelSpace) -> Group:
    """Everything that a summary tells, for people."""
    parts: list[RenderableType] = [_heading(summary), "", splits_table(summary)]
    parts += ["", _licences_table(summary)]
    for start, stop in _chunks(len(summary.classes)):
        parts += ["", _classes_table(summary, space, start, stop)]
    parts += [_legend(), "", _geometry_table(summary)]
    if summary.findings:
        parts += ["", _findings_table(summary)]
    return Group(*parts)


def splits_table(summary: Summary, request: SplitRequest | None = None) -> Table:
    """How many cases of each dataset stand in which split.

    Args:
        summary: The summary.
        request: What was asked; told where it could not be met, since patients are not parted.
    """
    splits = [s for s in (*SPLITS, UNASSIGNED) if any(d.splits[s] for d in summary.datasets)]
    table = new_table("Datasets")
    table.add_column("dataset", no_wrap=True)
    for name in ("cases", "patients", *splits):
        table.add_column(name, justify="right")
    table.add_column("recipe")
    for d in summary.datasets:
        held = (_split_cell(d, split, request) for split in splits)
        recipes = plain(", ".join(d.recipes))
        table.add_row(plain(d.name, "bold"), number(d.cases), number(d.subjects), *held, recipes)
    if len(summary.datasets) > 1:
        sums = (number(sum(d.splits[s] for d in summary.datasets)) for s in splits)
        patients = Text(NONE, "dim")  # one patient may stand in two datasets
        table.add_section()
        table.add_row(Text("all", "bold"), number(summary.cases), patients, *sums)
    return table


def _licences_table(summary: Summary) -> Table:
    table = new_table("Licences")
    table.add_column("dataset", no_wrap=True)
    for name in ("licence", "commercial use", "accepted"):
        table.add_column(name, overflow="fold")
    for d in summary.datasets:
        cells = (plain(", ".join(d.licences)), _use(d.commercial_use), plain(d.accepted or NONE))
        table.add_row(plain(d.name, "bold"), *cells)
    return table


def _use(commercial: bool | None) -> Text:
    if commercial is None:
        return Text("unknown", "dim")
    return Text("yes", "dim") if commercial else Text("NO", "bold red")


def problems_table(problems: "Sequence[Problem]") -> Table:
    """What does not hold, row by row."""
    table = new_table(f"Problems: {len(problems)}")
    for name in ("case", "column", "expected", "got"):
        table.add_column(name, overflow="fold")
    for p in problems:
        table.add_row(*map(plain, (p.case_id, p.column, p.expected, p.got)))
    return table


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
    asked = request.amount(split, dataset.name) if request and split in HELD_OUT else None
    if isinstance(asked, int) and asked != dataset.splits[split]:
        cell.append(f" (asked {asked})", "yellow")
    return cell


def _classes_table(summary: Summary, space: LabelSpace, start: int, stop: int) -> Table:
    table = new_table("Classes: annotated cases")
    table.add_column("dataset", no_wrap=True)
    for c in space.classes[start:stop]:
        title = Text.assemble(("■ ", c.colour), (c.name.replace("_", " "), f"bold {c.colour}"))
        table.add_column(title, justify="right")
    for d in summary.datasets:
        cells = (_class_cell(count, d.cases) for count in d.classes[start:stop])
        table.add_row(plain(d.name, "bold"), *cells)
    if len(summary.datasets) > 1:
        table.add_section()
        columns = zip(*(d.classes[start:stop] for d in summary.datasets), strict=True)
        cells = (_class_cell(_sum(counts), None) for counts in columns)
        table.add_row(Text("all", "bold"), *cells)
    return table


def _class_cell(count: ClassCount, cases: int | None) -> Text:
    if not count.annotated:
        return Text(NONE, "dim")
    text = Text(str(count.annotated))
    if count.not_annotated and cases is not None:
        text.append(f" of {cases}", "dim")
    if count.absent:
        text.append(f" ({count.absent} absent)", "yellow")
    return text


def _sum(counts: Sequence[ClassCount]) -> ClassCount:
    return ClassCount(
        counts[0].name,
        annotated=sum(c.annotated for c in counts),
        present=sum(c.present for c in counts),
        absent=sum(c.absent for c in counts),
        not_annotated=sum(c.not_annotated for c in counts),
    )


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
    table = new_table(
        "Geometry: from least to greatest along x, y, z; before: along the file's axes"
    )
    for name in ("dataset", "", "before", "after"):
        table.add_column(name)
    for d in summary.datasets:
        table.add_row(plain(d.name, "bold"), *_range_cells(d, "spacing_mm"))
        table.add_row("", *_range_cells(d, "size"))
    return table


def _range_cells(dataset: DatasetSummary, name: str) -> tuple[Text, Text, Text]:
    before: Range = getattr(dataset, f"source_{name}")
    after: Range = getattr(dataset, name)
    unit = "spacing, mm" if name == "spacing_mm" else "size, voxels"
    return Text(unit, "dim"), Text(_range(before)), Text(_range(after))


def _range(vectors: Range) -> str:
    pairs = zip(vectors.least, vectors.greatest, strict=True)
    return f" {TIMES} ".join(
        short(low) if short(low) == short(high) else f"{short(low)}{DASH}{short(high)}"
        for low, high in pairs
    )


def _findings_table(summary: Summary) -> Table:
    table = new_table("Findings")
    table.add_column("code", no_wrap=True)
    table.add_column("cases", justify="right")
    table.add_column("datasets")
    table.add_column("meaning")
    for f in summary.findings:
        datasets = ", ".join(f"{name} {n}" for name, n in f.cases.items())
        cells = (plain(f.code), number(sum(f.cases.values())), plain(datasets))
        table.add_row(*cells, Text(f.meaning, "dim"))
    return table


def _chunks(total: int) -> list[tuple[int, int]]:
    """Even parts of `total` columns, none wider than a table may be."""
    parts = math.ceil(total / CLASSES_PER_TABLE)
    edges = [round(total * i / parts) for i in range(parts + 1)]
    return list(pairwise(edges))
