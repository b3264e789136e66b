"""Splits and folds: which cases train a network, which validate it and which test it."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from manifests.changes.case_folds import folds_of, strata_of
from manifests.changes.given_split import check_given_split, parted_findings
from manifests.changes.split_request import Amount, SplitRequest
from manifests.ground.errors import ManifestError
from manifests.ground.near_names import did_you_mean
from manifests.table.case import SPLITS
from manifests.table.manifest import Manifest
from manifests.table.subjects import subjects_of

COLUMNS = (
    *("case_id", "dataset", "subject_id", "related", "split", "fold"),
    *("annotated", "voxels", "findings"),
)
HELD_OUT = ("test", "validation")  # in the order in which they are filled
LEAST_FOR_ONE = 3  # cases of a dataset from which on a fraction takes at least one

Row = Mapping[str, Any]
Stratum = tuple[str, str]  # dataset, and value of the column by which cases are stratified
Subjects = dict[str, Counter[Stratum]]  # number of cases


def assign_splits(manifest: Manifest, request: SplitRequest) -> Manifest:
    """Give every case a split; the cases of one subject stay together, whatever their dataset.

    Related cases count as of one subject, even if their subject ids differ.

    Subjects are ordered by a hash of seed and subject, so neither the order of the rows nor
    another dataset's cases change which are taken. Whole subjects are taken, first for the test
    split, unless that exceeds a dataset's number; so if subjects have several cases, there may be
    fewer cases than requested.

    Args:
        manifest: At least `COLUMNS`, and the column by which the request stratifies.
        request: What is held out, and the number of folds of the rest.

    Raises:
        ManifestError: The request names a dataset that the manifest does not have, a dataset has
            fewer cases than requested, there are fewer subjects than folds, or the given split
            separates cases of one subject and is not forced.
    """
    rows = manifest.table.select(COLUMNS).to_pylist()
    subject_of = subjects_of(rows)
    if request.given:
        check_given_split(request.given, subject_of, force=request.force)
        splits = [request.given.get(row["case_id"]) for row in rows]
    else:
        held_out = _held_out(rows, subject_of, request, strata_of(manifest, request))
        splits = [held_out.get(subject_of[row["case_id"]], "train") for row in rows]
    return _assigned(manifest, splits, request)


def deal_anew(manifest: Manifest, request: SplitRequest) -> Manifest:
    """Deal the folds that are requested, and keep the split that every case has.

    What was held out stays held out, and the rule for new cases stays, too. Cases of which none
    has a split are split as `assign_splits` does it.
    """
    splits = manifest.table["split"].to_pylist()
    if not any(splits):
        return assign_splits(manifest, request)
    dealing = {name: getattr(request, name) for name in ("folds", "seed", "stratify")}
    rule = request
    with suppress(KeyError, ValueError):  # a manifest of another program may have none
        rule = SplitRequest.model_validate(manifest.settings["split"])
    return _assigned(manifest, splits, rule.model_copy(update={**dealing, "absent_folds": {}}))


def keep_splits(manifest: Manifest, earlier: Manifest, default: SplitRequest) -> Manifest:
    """Give every case the split that it had in an earlier manifest, and others one by its request.

    If cases of several splits turn out to be of one subject, all of them go to the split that comes
    first in `SPLITS`: nothing is tested on what was trained on. Cases that are not in the manifest
    now keep their splits on record. A case that is made of others (`a+b`) has the first one's.
    Folds are kept in the same way.
    """
    try:
        request = SplitRequest.model_validate(earlier.settings["split"])
    except (KeyError, ValueError):
        request = default
    had = earlier.table.select(["case_id", "split", "fold"]).to_pylist()
    known = {**request.absent, **{r["case_id"]: r["split"] for r in had if r["split"]}}
    known |= request.given
    rows = manifest.table.select(COLUMNS).to_pylist()
    subject_of = subjects_of(rows)
    own = {c: s for c in subject_of if (s := known.get(c) or known.get(c.partition("+")[0]))}
    fixed: dict[str, str] = {}
    for case_id, split in own.items():
        subject = subject_of[case_id]
        fixed[subject] = min(split, fixed.get(subject, split), key=SPLITS.index)
    subjects = _subjects(rows, subject_of, strata_of(manifest, request))
    held_out = _take(subjects, request, fixed)
    splits = [
        None
        if request.given and row["case_id"] not in own
        else held_out.get(subject_of[row["case_id"]], "train")
        for row in rows
    ]
    if request.force:
        splits = [request.given.get(row["case_id"]) for row in rows]
    absent = {} if request.given else {c: s for c, s in known.items() if c not in subject_of}
    had_folds = {r["case_id"]: r["fold"] for r in had if r["fold"] is not None}
    folds = {**request.absent_folds, **had_folds}
    gone = {c: fold for c, fold in folds.items() if c not in subject_of}
    request = request.model_copy(update={"absent": absent, "absent_folds": gone})
    return _assigned(manifest, splits, request, folds)


def _assigned(
    manifest: Manifest,
    splits: Sequence[str | None],
    request: SplitRequest,
    known_folds: Mapping[str, int] | None = None,
) -> Manifest:
    """Return the manifest with splits, with folds, and with findings of patients who are parted."""
    manifest = manifest.with_columns({"split": list(splits)}, split=request.model_dump(mode="json"))
    columns = {
        "fold": folds_of(manifest, request, known_folds or {}),
        "findings": parted_findings(manifest),
    }
    return manifest.with_columns(columns)


def _held_out(
    rows: Sequence[Row],
    subject_of: Mapping[str, str],
    request: SplitRequest,
    strata: Mapping[str, str],
) -> dict[str, str]:
    """Return the held-out subjects and their splits."""
    subjects = _subjects(rows, subject_of, strata)
    totals = Counter(row["dataset"] for row in rows)
    if unknown := request.named() - totals.keys():
        name, near = min(unknown), did_you_mean(min(unknown), totals)
        msg = f"no dataset {name!r} to split: the manifest has {', '.join(sorted(totals))}{near}"
        raise ManifestError(msg)
    for dataset, total in sorted(totals.items()):
        _check_enough(request, dataset, total)
    return _take(subjects, request, {})


def _subjects(
    rows: Iterable[Row], subject_of: Mapping[str, str], strata: Mapping[str, str]
) -> Subjects:
    subjects: Subjects = {}
    for row in rows:
        stratum = row["dataset"], strata.get(row["case_id"], "")
        subjects.setdefault(subject_of[row["case_id"]], Counter())[stratum] += 1
    return subjects


def _take(subjects: Subjects, request: SplitRequest, fixed: Mapping[str, str]) -> dict[str, str]:
    """Return the splits of subjects beside those `fixed`, which count."""
    totals = sum(subjects.values(), Counter[Stratum]())
    queue = sorted(subjects, key=lambda s: sha256(f"{request.seed}\n{s}".encode()).digest())
    split_of = dict(fixed)
    for split in HELD_OUT:
        held = [subjects[s] for s, its in fixed.items() if its == split and s in subjects]
        free = {s: subjects[s] for s in queue if s not in split_of}
        room: Counter[Stratum] = Counter()
        for dataset in {name for name, _ in totals}:
            of_dataset = Counter({k: n for k, n in totals.items() if k[0] == dataset})
            sizes = [n for cases in free.values() if (n := _of(cases, dataset))]
            wanted = _cases_to_take(
                request.amount(split, dataset), of_dataset.total(), sizes
            ) - sum(_of(cases, dataset) for cases in held)
            room.update(_shares(wanted, of_dataset))
        for subject, cases in free.items():
            if all(n <= room[stratum] for stratum, n in cases.items()):
                split_of[subject] = split
                room.subtract(cases)
    return split_of


def _of(cases: Mapping[Stratum, int], dataset: str) -> int:
    return sum(n for stratum, n in cases.items() if stratum[0] == dataset)


def _shares(wanted: int, strata: Mapping[Stratum, int]) -> dict[Stratum, int]:
    """Divide a number among strata in proportion to their cases, by the greatest remainders."""
    total = sum(strata.values())
    exact = {stratum: wanted * n / total for stratum, n in strata.items()}
    shares = {stratum: math.floor(n) for stratum, n in exact.items()}
    order = sorted(strata, key=lambda s: (shares[s] - exact[s], s))
    for stratum in order[: wanted - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _cases_to_take(amount: Amount, total: int, sizes: Collection[int]) -> int:
    """Return how many of a dataset's cases to take, given the sizes of its free subjects."""
    if isinstance(amount, int):
        return amount
    wanted = math.floor(amount * total + 0.5)
    if total >= LEAST_FOR_ONE and len(sizes) > 1:  # the last subject is left for training
        wanted = max(wanted, min(sizes))
    return wanted


def _check_enough(request: SplitRequest, dataset: str, total: int) -> None:
    asked = {split: request.amount(split, dataset) for split in HELD_OUT}
    cases = sum(n if isinstance(n, int) else n * total for n in asked.values())
    if cases > total + 1e-9:
        words = " and ".join(f"{n} for {split}" for split, n in asked.items() if n)
        msg = (
            f"dataset {dataset!r} has {total} cases, fewer than asked: {words}; ask for less, "
            f"as in --test {dataset}=0.2"
        )
        raise ManifestError(msg)
