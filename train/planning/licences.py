"""Licences: which cases a network may learn from, and what it loses by that, class by class."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from manifests.classes.label_space import LabelSpace
from manifests.table.case_rows import CaseRows
from manifests.table.dataset_facts import DatasetFacts

COMMERCIAL = "commercial"
AND = " AND "  # between the licences of a case that is made of several


def allowed_cases(
    cases: CaseRows, facts: Mapping[str, DatasetFacts], wanted: str | None
) -> CaseRows:
    """Return the cases of which each licence allows what is wanted.

    Args:
        cases: Any cases.
        facts: What the recipes say of the datasets; of one without, nothing is taken to be allowed.
        wanted: `commercial`, or a pattern of licences such as `cc-by*`; None allows all.
    """
    if wanted is None:
        return cases
    terms: dict[str, set[bool]] = {}
    for known in facts.values():
        terms.setdefault(known.licence, set()).add(known.commercial_use)

    def allowed(licence: str) -> bool:
        if wanted.lower() == COMMERCIAL:
            return terms.get(licence) == {True}
        return fnmatchcase(licence.lower(), wanted.lower())

    licences = cases.coded("licence")
    return cases.where(licences.where(lambda licence: all(map(allowed, licence.split(AND)))))


def left_out_remarks(
    before: CaseRows, after: CaseRows, space: LabelSpace, wanted: str | None
) -> list[str]:
    """Say which datasets a licence leaves out, and how many cases of each class."""
    if len(after) == len(before):
        return []
    left = before.where(~np.isin(before.rows, after.rows))
    names, licences = left.coded("dataset"), left.coded("licence")
    counts = {
        (name, licence): n
        for name in names.present()
        for licence in licences.present()
        if (n := int((names.equal(name) & licences.equal(licence)).sum()))
    }
    datasets = ", ".join(f"{name} ({n} cases, {lic})" for (name, lic), n in sorted(counts.items()))
    annotated = {
        name: [_annotating(name, of) for of in (left, after, before)] for name in space.names[1:]
    }
    classes = [f"{name} {n} of {whole}" for name, (lost, n, whole) in annotated.items() if lost]
    return [
        f"licence {wanted} leaves out {datasets}",
        f"of the cases that annotate a class there are left: {', '.join(classes) or 'all'}",
    ]


def _annotating(name: str, cases: CaseRows) -> int:
    return int(cases.coded("annotated").where(lambda names: name in names).sum())
