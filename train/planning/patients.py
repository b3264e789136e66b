"""Patients: whether a training is scored on patients that it learnt from."""

import numpy as np

from manifests.table.case_rows import CaseRows, Coded
from manifests.table.subjects import common_subjects


def parted_remarks(cases: CaseRows, parts: Coded) -> tuple[str, ...]:
    """Return a remark if cases of one patient are in several parts, so that scores say too much."""
    subjects, counted = _common_subjects(cases), parts.where(bool)
    pairs = np.unique((subjects.codes * len(parts.values) + parts.codes)[counted])
    parts_of = np.bincount(pairs // len(parts.values), minlength=len(subjects.values))
    parted = sorted(subjects.values[n] for n in np.flatnonzero(parts_of > 1))
    if not parted:
        return ()
    named = ", ".join(parted[:3]) + (", ..." if len(parted) > 3 else "")
    return (
        f"cases of one patient are in several splits, for {len(parted)} patients ({named}): scores "
        f"will be too good; `marginalia split` keeps patients together",
    )


def _common_subjects(cases: CaseRows) -> Coded:
    """Return the subject of each case, as `common_subjects` does; only tied cases are made."""
    subjects, related = cases.coded("subject_id"), cases.coded("related")
    tied = related.where(bool)
    if not tied.any():
        return subjects
    named = {case_id for ids in related.values for case_id in ids}
    tied |= cases.coded("case_id").where(named.__contains__)
    of_cases = {c.case_id: (c.subject_id, c.related) for c in cases.where(tied)}
    common = common_subjects((name, *known) for name, known in of_cases.items())
    above = {subject: common[name] for name, (subject, _) in of_cases.items()}
    return subjects.mapped(lambda subject: above.get(subject, subject))
