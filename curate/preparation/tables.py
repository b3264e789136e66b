"""What `prepare` shows of its plan and of its outcome."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table

from curate.download.table import files_table, licences_table
from curate.preparation.plan import PlannedDataset
from curate.preparation.prepare import Report
from manifests.ground.findings import MEANINGS
from manifests.views.table_style import new_table, plain


def plan_view(planned: Sequence[PlannedDataset], raw: Path) -> Group:
    """What there is of every dataset, and what would be done; on which terms it would come."""
    parts: list[RenderableType] = [_plan_table(planned)]
    if sources := [s for p in planned for s in p.sources]:
        parts += ["", files_table(sources), "", licences_table(sources, raw)]
    return Group(*parts)


def _plan_table(planned: Sequence[PlannedDataset]) -> Table:
    table = new_table("Plan")
    table.add_column("dataset", no_wrap=True)
    for heading in ("data", "at"):
        table.add_column(heading, overflow="fold")
    for heading in ("cases done", "to make"):
        table.add_column(heading, justify="right")
    for p in planned:
        table.add_row(*map(plain, (p.recipe.name, *_found(p), *_counts(p))))
    return table


def _found(planned: PlannedDataset) -> tuple[str, str]:
    if planned.sources:
        sizes = [s.to_fetch_bytes for s in planned.sources]
        size = f"{decimal(sum(filter(None, sizes)))} " if any(sizes) else ""
        return f"{size}to download", str(planned.sources[0].root)
    if planned.location is None:
        return "missing or damaged", planned.problem
    return planned.location.kind, str(planned.location.path)


def _counts(planned: PlannedDataset) -> tuple[str, str]:
    if planned.names:
        return str(len(planned.done)), str(len(planned.open))
    expected = planned.recipe.labelled_cases
    return "", "" if planned.problem else f"about {expected}" if expected else "?"


def report_table(report: Report) -> Table:
    """One line per dataset: cases in the manifest, cases set aside and why."""
    cases = Counter(str(d) for d in report.manifest.table["dataset"].to_pylist())
    aside = Counter((r.case.dataset, r.finding.code) for r in report.rejected)
    table = Table(title="Prepared", title_justify="left")
    table.add_column("dataset")
    table.add_column("cases", justify="right")
    table.add_column("set aside", justify="right")
    table.add_column("reasons", overflow="fold")
    for dataset in sorted({*cases, *(d for d, _ in aside)}):
        reasons = {code: n for (d, code), n in sorted(aside.items()) if d == dataset}
        words = [f"{n} {code}: {MEANINGS[code]}" for code, n in reasons.items()]
        total = sum(reasons.values())
        table.add_row(dataset, str(cases[dataset]), str(total or ""), "\n".join(words))
    return table
