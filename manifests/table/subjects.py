"""Subjects: which cases of a manifest must stand in one split."""
# pyright: reportUnknownMemberType=false

from collections.abc import Collection, Iterable, Iterator, Mapping


def common_subjects(rows: Iterable[tuple[str, str, Collection[str]]]) -> dict[str, str]:
    """The subject of each case: the least subject id among the cases that are tied to it.

    Cases are tied if they have the same subject id, or if one is named as related to the other;
    names of cases that are not there are left out.

    Args:
        rows: Case id, subject id and the ids of related cases.

    Returns:
        Subject ids by case id.
    """
    told = {case_id: (subject, related) for case_id, subject, related in rows}
    above: dict[str, str] = {}

    def top(subject: str) -> str:
        while above.get(subject, subject) != subject:
            above[subject] = above.get(above[subject], above[subject])
            subject = above[subject]
        return subject

    for subject, related in told.values():
        for other in related:
            if other in told:
                least, greatest = sorted((top(subject), top(told[other][0])))
                above[greatest] = least
    return {case_id: top(subject) for case_id, (subject, _) in told.items()}


def parted_cases(
    splits: Mapping[str, str], subject_of: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Cases that stand in another split than the first case of their subject, and that case."""
    first: dict[str, str] = {}
    for case_id, split in splits.items():
        other = first.setdefault(subject_of[case_id], case_id)
        if splits[other] != split:
            yield case_id, other
