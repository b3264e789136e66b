"""Licences: which cases a network may learn from, and what it loses by that, class by class."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from manifests.classes.label_space import LabelSpace
from manifests.table.case import Case
from manifests.table.dataset_facts import DatasetFacts

COMMERCIAL = "commercial"
AND = " AND "  # between the licences of a case that is made of several


def allowed_cases(
    cases: Sequence[Case], facts: Mapping[str, DatasetFacts], wanted: str | None
) -> list[Case]:
    """Return the cases of which each licence allows what is wanted.

    Args:
        cases: Any cases.
        facts: What the recipes say of the datasets; of one without, nothing is taken to be allowed.
        wanted: `commercial`, or a pattern of licences such as `cc-by*`; None allows all.
    """
    if wanted is None:
        return list(cases)
    terms: dict[str, set[bool]] = {}
    for known in facts.values():
        terms.setdefault(known.licence, set()).add(known.commercial_use)

    def allowed(licence: str) -> bool:
        if wanted.lower() == COMMERCIAL:
            return terms.get(licence) == {True}
        return fnmatchcase(licence.lower(), wanted.lower())

    return [c for c in cases if all(map(allowed, c.licence.split(AND)))]


def left_out_remarks(
    before: Sequence[Case], after: Sequence[Case], space: LabelSpace, wanted: str | None
) -> list[str]:
    """Say which datasets a licence leaves out, and how many cases of each class."""
    if len(after) == len(before):
        return []
    kept = {case.case_id for case in after}
    left = [case for case in before if case.case_id not in kept]
    if not left:
        return []
    counts: dict[tuple[str, str], int] = {}
    for case in left:
        counts[case.dataset, case.licence] = counts.get((case.dataset, case.licence), 0) + 1
    datasets = ", ".join(f"{name} ({n} cases, {lic})" for (name, lic), n in sorted(counts.items()))
    classes = [
        f"{name} {sum(name in c.annotated for c in after)} of "
        f"{sum(name in c.annotated for c in before)}"
        for name in space.names[1:]
        if any(name in c.annotated for c in left)
    ]
    return [
        f"licence {wanted} leaves out {datasets}",
        f"of the cases that annotate a class there are left: {', '.join(classes) or 'all'}",
    ]
