"""Patients: whether a training is scored on patients that it learnt from."""

from collections.abc import Mapping, Sequence

from manifests.table.case import Case
from manifests.table.subjects import common_subjects, separated_cases


def parted_remarks(cases: Sequence[Case], part_of: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return a remark if cases of one patient are in several parts, so that scores say too much."""
    subjects = common_subjects((c.case_id, c.subject_id, c.related) for c in cases)
    parts = {c.case_id: part for c in cases if (part := part_of[c.case_id])}
    parted = sorted({subjects[case] for case, _ in separated_cases(parts, subjects)})
    if not parted:
        return ()
    named = ", ".join(parted[:3]) + (", ..." if len(parted) > 3 else "")
    return (
        f"cases of one patient are in several splits, for {len(parted)} patients ({named}): scores "
        f"will be too good; `marginalia split` keeps patients together",
    )
