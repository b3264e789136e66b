"""Cases that an earlier run made and that this one cannot make: no finished work is given up."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from curate.cases import record
from curate.preparation.plan import PlannedDataset, PrepareRequest
from curate.preparation.rejected import SKIPPED, Rejected, skipped_ids
from curate.recipes.schema import Recipe
from manifests.ground.findings import Finding
from manifests.table.case import Case

MOST_NAMED = 20


@dataclass(frozen=True)
class EarlierCases:
    """What stands in the folder, and was neither made nor looked at now.

    Attributes:
        rows: Cases that were made as they would be made now.
        left_out: Ids of cases that were made in another way.
    """

    rows: tuple[Case, ...]
    left_out: tuple[str, ...]

    def remarks(self) -> Iterator[str]:
        """Say what was kept, and what the manifest does not have."""
        for code, what in (
            ("source_gone", "are no longer in their dataset"),
            ("not_made_again", "could not be made again"),
        ):
            if ids := [c.case_id for c in self.rows if any(f.code == code for f in c.findings)]:
                yield (
                    f"cases that {what}, and were kept as an earlier run made them ({code}): "
                    f"{named(ids)}; to be rid of one, delete its folder in cases/, or skip it in "
                    f"an overrides file, and run again"
                )
        if self.left_out:
            yield (
                f"cases in the folder that were made with another label space, spacing, "
                f"interpolation, recipe, override or marginalia, or in a way that is not allowed "
                f"now (--resample-uneven, --refuse-tilt), or are damaged; they are kept, "
                f"but are not in the manifest until they are prepared again with these: "
                f"{named(self.left_out)}"
            )


def earlier_cases(
    ready: Sequence[PlannedDataset], rejected: Sequence[Rejected], request: PrepareRequest
) -> EarlierCases:
    """Return the cases of datasets beside those `ready`, and of these what cannot be made now."""
    recipes = {p.recipe.name: p.recipe for p in ready}
    rows, left_out = _of_other_datasets(recipes.keys() | request.removed, request)
    for case_id, finding in _not_made(ready, rejected, request):
        row = _earlier(case_id, recipes[case_id.partition("/")[0]], request)
        if row:
            rows.append(replace(row, findings=(*row.findings, finding)))
        elif record.is_ours(request.target.folder / "cases" / case_id):
            left_out.append(case_id)
    return EarlierCases(tuple(rows), tuple(sorted(left_out)))


def _of_other_datasets(
    names: Collection[str], request: PrepareRequest
) -> tuple[list[Case], list[str]]:
    """Return the cases of datasets that are not prepared now, but for those that were left out."""
    target = request.target
    settings = record.settings_key(target)
    skipped = skipped_ids(target.folder) | {c for c, o in request.overrides.items() if o.skip}
    folders = sorted((target.folder / "cases").glob("*/*"))
    others = [
        f
        for f in folders
        if f.parent.name not in names
        and f"{f.parent.name}/{f.name}" not in skipped
        and record.is_ours(f)
    ]
    found = filter(None, map(record.read_record, others))
    rows = [
        row
        for row, provenance in found
        if provenance.settings == settings and target.repairs.allow(row.findings)
    ]
    left_out = {f"{f.parent.name}/{f.name}" for f in others} - {row.case_id for row in rows}
    return rows, list(left_out)


def _not_made(
    ready: Sequence[PlannedDataset], rejected: Sequence[Rejected], request: PrepareRequest
) -> Iterator[tuple[str, Finding]]:
    """Yield the ids of cases that were not made, and why, without those that are to be skipped."""
    for r in rejected:
        if r.finding.code != SKIPPED:
            reason = f"{r.finding.code}: {r.finding.reason}"
            yield r.case.case_id, Finding("not_made_again", reason)
    for p in ready:
        room = None if request.limit is None else max(0, request.limit - len(p.names))
        for name in p.gone[:room]:
            override = request.overrides.get(case_id := f"{p.recipe.name}/{name}")
            if not (override and override.skip):
                reason = f"{p.recipe.name} has no case {name} any more"
                yield case_id, Finding("source_gone", reason)


def _earlier(case_id: str, recipe: Recipe, request: PrepareRequest) -> Case | None:
    override = request.overrides.get(case_id)
    wanted = record.Provenance.of(None, recipe, request.target, override)
    folder = request.target.folder / "cases" / case_id
    row = record.earlier_case(folder, wanted, verify=request.verify)
    return row if row and request.target.repairs.allow(row.findings) else None


def named(ids: Sequence[str]) -> str:
    """List the first of many ids."""
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f"{', '.join(ids[:MOST_NAMED])}{more}"
