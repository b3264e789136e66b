"""Subjects: which cases of a manifest must be in the same split."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any


def common_subjects(rows: Iterable[tuple[str, str, Collection[str]]]) -> dict[str, str]:
    """Return the subject of each case: the least subject id among the cases that are tied to it.

    Cases are tied if they have the same subject id, or if one names the other as related; related
    cases that are not in the manifest do not count.

    Args:
        rows: Case id, subject id and the ids of related cases.
    """
    cases = {case_id: (subject, related) for case_id, subject, related in rows}
    above: dict[str, str] = {}

    def top(subject: str) -> str:
        while above.get(subject, subject) != subject:
            above[subject] = above.get(above[subject], above[subject])
            subject = above[subject]
        return subject

    for subject, related in cases.values():
        for other in related:
            if other in cases:
                least, greatest = sorted((top(subject), top(cases[other][0])))
                above[greatest] = least
    return {case_id: top(subject) for case_id, (subject, _) in cases.items()}


def subjects_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the subject of each case of a manifest's rows; see `common_subjects`."""
    return common_subjects((r["case_id"], r["subject_id"], r["related"]) for r in rows)


def separated_cases(
    splits: Mapping[str, str], subject_of: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield cases in another split than the first case of their subject, and that first case."""
    first: dict[str, str] = {}
    for case_id, split in splits.items():
        other = first.setdefault(subject_of[case_id], case_id)
        if splits[other] != split:
            yield case_id, other
