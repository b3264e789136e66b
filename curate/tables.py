"""What `prepare` shows of its plan and of its outcome."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from curate.prepare import Planned, Report
from curate.recipe import Recipe
from manifests.findings import MEANINGS


def plan_table(planned: Sequence[Planned]) -> Table:
    """One line per dataset: where it was found and how much is still to be done."""
    table = Table(title="Plan", title_justify="left")
    for heading in ("dataset", "found as", "at"):
        table.add_column(heading, overflow="fold")
    for heading in ("there already", "to be made"):
        table.add_column(heading, justify="right")
    for p in planned:
        packed = p.location.kind == "archive"
        expected = p.recipe.labelled_cases
        todo = f"about {expected}" if packed and expected else "?" if packed else str(len(p.open))
        there = "" if packed else str(len(p.done))
        table.add_row(p.recipe.name, p.location.kind, str(p.location.path), there, todo)
    return table


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


def recipe_table(recipes: Sequence[Recipe]) -> Table:
    """One line per recipe: cases, licence, and the structures that its values cover."""
    table = Table(title="Recipes", title_justify="left")
    table.add_column("recipe", no_wrap=True)
    table.add_column("labelled cases", justify="right")
    table.add_column("licence", overflow="fold")
    table.add_column("structures", overflow="fold")
    for r in recipes:
        structures = "; ".join(" + ".join(values) for values in r.values.values())
        table.add_row(r.name, str(r.labelled_cases or "?"), r.licence, structures)
    return table
