"""Folds: patients dealt into equal parts, each of which has cases of every class if possible."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from manifests.ground.errors import ManifestError

Traits = Counter[str]  # how many cases of a patient have each trait, as in "annotated liver"
NEEDED = ("annotated", "present")  # traits of which every fold is to have a case
DATASET = "dataset "
MOST_APART = 2  # cases of a dataset, of the folds that have most and fewest of it


@dataclass
class _Deal:
    """Which patient is in which fold, and how many cases of each trait a fold has."""

    patients: Mapping[str, Traits]
    count: int
    fold_of: dict[str, int] = field(default_factory=dict[str, int])
    cases: defaultdict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.cases = defaultdict(lambda: [0] * self.count)
        for patient, fold in self.fold_of.items():
            self._count(patient, fold, 1)

    def put(self, patient: str, fold: int) -> None:
        """Put a patient into a fold, out of another if there is one."""
        if patient in self.fold_of:
            self._count(patient, self.fold_of[patient], -1)
        self.fold_of[patient] = fold
        self._count(patient, fold, 1)

    def covered(self) -> int:
        """Return for how many needed traits and folds there is a case."""
        needed = (self.cases[trait] for trait in self.cases if _is_needed(trait))
        return sum(map(bool, (n for counts in needed for n in counts)))

    def lacking(self) -> Iterator[tuple[str, int]]:
        """Yield needed traits, and folds that have no case of them."""
        for trait, counts in sorted(self.cases.items()):
            covered = sum(map(bool, counts))
            if _is_needed(trait) and 0 < covered < self.count:
                yield from ((trait, fold) for fold, n in enumerate(counts) if not n)

    def _count(self, patient: str, fold: int, sign: int) -> None:
        for trait, n in self.patients[patient].items():
            self.cases[trait][fold] += sign * n


def deal_folds(
    patients: Mapping[str, Traits],
    count: int,
    *,
    seed: int = 0,
    fixed: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return the fold, from 0, of each patient.

    Patients with the rarest trait are dealt first, each to the fold that lacks most of it. Then
    patients change places as long as another fold gets a case of a class that it lacked, and others
    go from the fold with most to the one with fewest cases of a dataset if these lie far apart.

    Args:
        patients: The traits of their cases, in any order.
        count: Number of folds.
        seed: Decides, with the patient's id, who is dealt first among those with one trait.
        fixed: Patients whose folds stay.

    Raises:
        ManifestError: There are fewer patients than folds.

    Source: Sechidis et al., On the stratification of multi-label data, 2011.
    """
    if len(patients) < count:
        msg = (
            f"{count} folds of {len(patients)} patients: expected a patient for each fold; "
            f"ask for fewer folds"
        )
        raise ManifestError(msg)
    kept: dict[str, int] = {p: f for p, f in (fixed or {}).items() if p in patients and f < count}
    deal = _Deal(patients, count, dict(kept))
    totals = sum((Counter(traits) for traits in patients.values()), Counter[str]())
    waiting: list[str] = sorted(
        (p for p in patients if p not in kept),
        key=lambda p: sha256(f"{seed}\n{p}".encode()).digest(),
    )
    while waiting:
        left = Counter(trait for patient in waiting for trait in patients[patient])
        rarest = min(left, key=lambda trait: (left[trait], trait))
        for patient in [p for p in waiting if rarest in patients[p]]:
            deal.put(patient, _best_fold(deal, patient, rarest, totals))
        waiting = [p for p in waiting if p not in deal.fold_of]
    movable = [p for p in deal.fold_of if p not in kept]
    while _improve(deal, movable):
        pass
    while _even_out(deal, movable):
        pass
    return deal.fold_of


def shortfalls(patients: Mapping[str, Traits], fold_of: Mapping[str, int], count: int) -> list[str]:
    """Say which folds have no case of a class that other folds have."""
    deal = _Deal(patients, count, dict(fold_of))
    missing: defaultdict[str, list[int]] = defaultdict(list)
    for trait, fold in deal.lacking():
        missing[trait].append(fold)
    found: list[str] = []
    for trait, folds in missing.items():
        kind, name = trait.split(" ", 1)
        having = sum(trait in patients[p] for p in fold_of)
        what = f"no case annotates {name}" if kind == "annotated" else f"no case has {name}"
        listed = ", ".join(map(str, folds))
        found.append(f"fold {listed}: {what}, of which {having} patients have cases")
    return found


def _best_fold(deal: _Deal, patient: str, rarest: str, totals: Mapping[str, int]) -> int:
    traits = deal.patients[patient]

    def wish(fold: int) -> tuple[float, int, float, int]:
        lacks = sum(_is_needed(t) and not deal.cases[t][fold] for t in traits)
        wanted = sum(totals[t] / deal.count - deal.cases[t][fold] for t in traits)
        return totals[rarest] / deal.count - deal.cases[rarest][fold], lacks, wanted, -fold

    return max(range(deal.count), key=wish)


def _improve(deal: _Deal, movable: Sequence[str]) -> bool:
    """Move a patient, or let two change places, so that one more fold has a case of a class."""
    before = deal.covered()
    for trait, fold in deal.lacking():
        having = [p for p in deal.patients if trait in deal.patients[p]]
        if len(having) == len({deal.fold_of[p] for p in having}):
            continue  # each is in a fold of its own
        for patient in (p for p in movable if trait in deal.patients[p]):
            home = deal.fold_of[patient]
            deal.put(patient, fold)
            # a change of places first: it keeps the folds' sizes
            for other in (p for p in movable if deal.fold_of[p] == fold and p != patient):
                deal.put(other, home)
                if deal.covered() > before:
                    return True
                deal.put(other, fold)
            if deal.covered() > before:
                return True
            deal.put(patient, home)
    return False


def _even_out(deal: _Deal, movable: Sequence[str]) -> bool:
    """Move a patient out of a fold with far more cases of a dataset, if no fold loses a class."""
    for trait, counts in sorted(deal.cases.items()):
        most, fewest = counts.index(max(counts)), counts.index(min(counts))
        if not trait.startswith(DATASET) or counts[most] - counts[fewest] <= MOST_APART:
            continue
        before = deal.covered()
        there = [p for p in movable if deal.fold_of[p] == most and trait in deal.patients[p]]
        gains = {patient: _gain(deal, patient, most, fewest) for patient in there}
        for patient in sorted((p for p in there if gains[p] > 0), key=lambda p: -gains[p]):
            deal.put(patient, fewest)
            if deal.covered() >= before:
                return True
            deal.put(patient, most)
    return False


def _gain(deal: _Deal, patient: str, here: int, there: int) -> int:
    """Return by how much a move lowers the sum of the squared cases of each dataset and fold."""
    of_datasets = ((t, n) for t, n in deal.patients[patient].items() if t.startswith(DATASET))
    return sum(2 * n * (deal.cases[t][here] - deal.cases[t][there] - n) for t, n in of_datasets)


def _is_needed(trait: str) -> bool:
    return trait.startswith(NEEDED)
