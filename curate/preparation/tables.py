"""What `prepare` shows of its plan and of its outcome."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from curate.download.table import download_view
from curate.preparation.plan import PlannedDataset
from curate.preparation.prepare import Report
from manifests.ground.findings import MEANINGS
from manifests.views.table_style import BOXED, folded, new_table, right, unbroken


def plan_view(planned: Sequence[PlannedDataset], raw: Path) -> Group:
    """Show what there is of every dataset, what would be done, and on which terms it would come."""
    columns = [*unbroken("dataset"), *folded("data", "at"), *right("cases done", "to make")]
    rows = [(p.recipe.name, *_found(p), *_counts(p)) for p in planned]
    parts: list[RenderableType] = [new_table("Plan", columns, rows)]
    parts += [Text(_missing_masks(p)) for p in planned if p.missing_masks]
    parts += [Text(_unannotated(p)) for p in planned if p.unannotated]
    if sources := [s for p in planned for s in p.sources]:
        parts += ["", download_view(sources, raw)]
    return Group(*parts)


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


def _missing_masks(planned: PlannedDataset) -> str:
    """Say how many cases lack which mask, and what the recipe says that means."""
    means = getattr(planned.recipe.layout, "missing_mask", "").replace("_", " ")
    counts = ", ".join(f"{name} in {n}" for name, n in sorted(planned.missing_masks.items()))
    return (
        f"{planned.recipe.name}: masks missing in some of {len(planned.names)} cases, "
        f"taken as {means}: {counts}"
    )


def _unannotated(planned: PlannedDataset) -> str:
    counts = ", ".join(f"{what} in {n}" for what, n in sorted(planned.unannotated.items()))
    return f"{planned.recipe.name}: not annotated in some of {len(planned.names)} cases: {counts}"


def report_table(report: Report) -> Table:
    """Show one line per dataset: cases in the manifest, cases set aside and why."""
    cases = Counter(str(d) for d in report.manifest.table["dataset"].to_pylist())
    aside = Counter((r.case.dataset, r.finding.code) for r in report.rejected)
    rows = []
    for dataset in sorted({*cases, *(d for d, _ in aside)}):
        reasons = {code: n for (d, code), n in sorted(aside.items()) if d == dataset}
        words = "\n".join(f"{n} {code}: {MEANINGS[code]}" for code, n in reasons.items())
        rows.append((dataset, cases[dataset], sum(reasons.values()) or "", Text(words)))
    columns = ["dataset", *right("cases", "set aside"), *folded("reasons")]
    return new_table("Prepared", columns, rows, look=BOXED)
