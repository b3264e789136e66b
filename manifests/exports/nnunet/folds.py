"""Folds: nnU-Net's `splits_final.json`, in which no patient is on both sides."""

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from manifests.exports.selection import ExportedCase
from manifests.ground.errors import ExportError
from manifests.table.subjects import common_subjects, separated_cases

DEFAULT_FOLDS = 5  # nnU-Net's own number
Fold = dict[str, list[str]]  # names of the cases in `train` and `val`


def make_folds(cases: Sequence[ExportedCase], folds: int | None = None) -> list[Fold]:
    """Return nnU-Net's splits of the training cases.

    Args:
        cases: Of the splits `train` and `validation`, or of none.
        folds: Number of folds, made anew by patient, each dataset spread over all. None keeps the
            manifest's own split as the one fold, or makes five where it has no validation cases.

    Raises:
        ExportError: There are too few patients, or the manifest's split parts one.
    """
    subject_of = _subjects(cases)
    validation = [c for c in cases if c.case.split == "validation"]
    if folds is None and 0 < len(validation) < len(cases):
        _refuse_parted(cases, subject_of)
        return [_fold(cases, {c.case.case_id for c in validation})]
    subjects = sorted(set(subject_of.values()), key=lambda s: sha256(s.encode()).digest())
    number = folds or min(DEFAULT_FOLDS, len(subjects))
    if not 2 <= number <= len(subjects):
        msg = (
            f"expected from 2 to {len(subjects)} folds, as there are {len(subjects)} patients to "
            f"train with; got {number}"
        )
        raise ExportError(msg)
    fold_of = _deal(subjects, cases, subject_of, number)
    return [
        _fold(cases, {c for c, subject in subject_of.items() if fold_of[subject] == n})
        for n in range(number)
    ]


def _subjects(cases: Iterable[ExportedCase]) -> dict[str, str]:
    return common_subjects((c.case.case_id, c.case.subject_id, c.case.related) for c in cases)


def _deal(
    subjects: Iterable[str],
    cases: Iterable[ExportedCase],
    subject_of: dict[str, str],
    number: int,
) -> dict[str, int]:
    """Give each subject the fold that has least of its datasets, and then least of all."""
    datasets: dict[str, Counter[str]] = {}
    for exported in cases:
        subject = subject_of[exported.case.case_id]
        datasets.setdefault(subject, Counter())[exported.case.dataset] += 1
    held = [Counter[str]() for _ in range(number)]
    fold_of: dict[str, int] = {}
    for subject in subjects:
        its = datasets[subject]
        fullness = [(sum(fold[d] for d in its), fold.total()) for fold in held]
        fold_of[subject] = fullness.index(min(fullness))
        held[fold_of[subject]].update(its)
    return fold_of


def _refuse_parted(cases: Iterable[ExportedCase], subject_of: dict[str, str]) -> None:
    splits = {c.case.case_id: c.case.split or "train" for c in cases}
    for case_id, other in separated_cases(splits, subject_of):
        msg = (
            f"{case_id} and {other} are of one patient, and in the splits {splits[case_id]} and "
            f"{splits[other]}; split again with `marginalia split`, or export with --folds 5"
        )
        raise ExportError(msg)


def _fold(cases: Iterable[ExportedCase], held_out: set[str]) -> Fold:
    fold: Fold = {"train": [], "val": []}
    for exported in cases:
        fold["val" if exported.case.case_id in held_out else "train"].append(exported.name)
    return fold
