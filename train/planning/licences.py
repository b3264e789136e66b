"""Licences: which cases a network may learn from, and what it loses by that, class by class."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from manifests.classes.label_space import LabelSpace
from manifests.table.case_rows import CaseRows
from manifests.table.dataset_facts import DatasetFacts
from train.learnt import LearntDataset

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
    licences = cases.coded("licence")
    return cases.where(licences.where(lambda licence: allows(licence, facts, wanted)))


def allows(
    licence: str, facts: Mapping[str, DatasetFacts | LearntDataset], wanted: str | None
) -> bool:
    """Return whether each licence of a case allows what is wanted; see `allowed_cases`."""
    if wanted is None:
        return True
    each = licence.split(AND)
    if wanted.lower() != COMMERCIAL:
        return all(fnmatchcase(one.lower(), wanted.lower()) for one in each)
    terms = [{known.commercial_use for known in facts.values() if known.licence == n} for n in each]
    return all(found == {True} for found in terms)


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
