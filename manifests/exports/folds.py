"""Folds: nnU-Net's `splits_final.json`, in which no patient is on both sides."""

from collections import Counter
from collections.abc import Iterable, Sequence

from manifests.changes.folds import Traits, deal_folds
from manifests.exports.selection import ExportedCase
from manifests.ground.errors import ExportError
from manifests.table.subjects import common_subjects, separated_cases

DEFAULT_FOLDS = 5  # nnU-Net's own number
Fold = dict[str, list[str]]  # names of the cases in `train` and `val`


def make_folds(cases: Sequence[ExportedCase], count: int | None = None) -> list[Fold]:
    """Return nnU-Net's splits of the training cases.

    Args:
        cases: Of the splits `train` and `validation`, or of none.
        count: Number of folds, made anew by patient, each dataset spread over all. None takes the
            manifest's folds, or else its validation split as the one fold, or else makes five.

    Raises:
        ExportError: There are too few patients, or the manifest's split or folds part one.
    """
    subject_of = common_subjects((c.case.case_id, c.case.subject_id, c.case.related) for c in cases)
    if count is None and all(c.case.fold is not None for c in cases):
        sides = {c.case.case_id: f"fold {c.case.fold}" for c in cases}
        _refuse_parted(sides, subject_of)
        return [_fold(cases, {c for c in sides if sides[c] == s}) for s in _sorted(sides)]
    sides = {c.case.case_id: c.case.split or "train" for c in cases}
    if count is None and "validation" in sides.values() and "train" in sides.values():
        _refuse_parted(sides, subject_of)
        return [_fold(cases, {c for c, side in sides.items() if side == "validation"})]
    patients = _traits(cases, subject_of)
    number = count or min(DEFAULT_FOLDS, len(patients))
    if not 2 <= number <= len(patients):
        msg = (
            f"expected from 2 to {len(patients)} folds, as there are {len(patients)} patients to "
            f"train with; got {number}"
        )
        raise ExportError(msg)
    fold_of = deal_folds(patients, number)
    return [
        _fold(cases, {c for c, subject in subject_of.items() if fold_of[subject] == n})
        for n in range(number)
    ]


def _sorted(sides: dict[str, str]) -> list[str]:
    return sorted({*sides.values()}, key=lambda side: int(side.removeprefix("fold ")))


def _traits(cases: Iterable[ExportedCase], subject_of: dict[str, str]) -> dict[str, Traits]:
    patients: dict[str, Traits] = {}
    for exported in cases:
        case = exported.case
        traits = patients.setdefault(subject_of[case.case_id], Counter())
        traits.update([f"dataset {case.dataset}", *(f"annotated {n}" for n in case.annotated)])
    return patients


def _refuse_parted(sides: dict[str, str], subject_of: dict[str, str]) -> None:
    for case_id, other in separated_cases(sides, subject_of):
        msg = (
            f"{case_id} and {other} are of one patient, and in {sides[case_id]} and "
            f"{sides[other]}; split again with `marginalia split`, or export with --folds 5"
        )
        raise ExportError(msg)


def _fold(cases: Iterable[ExportedCase], held_out: set[str]) -> Fold:
    fold: Fold = {"train": [], "val": []}
    for exported in cases:
        fold["val" if exported.case.case_id in held_out else "train"].append(exported.name)
    return fold
