"""Splits: which cases train a network, which validate it and which test it."""

import math
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from manifests.changes.given_split import check_given_split
from manifests.ground.errors import ManifestError, explain
from manifests.ground.near_names import did_you_mean
from manifests.ground.toml_file import StrictModel
from manifests.table.case import SPLITS, Split
from manifests.table.manifest import Manifest
from manifests.table.subjects import common_subjects

PRESETS_FILE = Path(__file__).with_name("split_presets.toml")
COLUMNS = ("case_id", "dataset", "subject_id", "related", "split")
HELD_OUT = ("test", "validation")  # in the order in which they are filled
LEAST_FOR_ONE = 3  # cases of a dataset from which on a fraction takes at least one

Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Amount = Count | Fraction
Subjects = dict[str, dict[str, int]]  # subject -> dataset -> number of cases


class SplitRequest(StrictModel):
    """How many cases of each dataset are held out; the rest is for training.

    An amount is a count of cases, or a fraction above 0 and below 1 of the dataset's cases. Those
    by dataset take precedence.

    Attributes:
        seed: Decides, with the subject's id, which subjects are taken first.
        given: The splits by case id, made by somebody else; then no other field counts, and cases
            that are not named stay unassigned.
        absent: The splits that cases had which are not in the manifest now; they return with them.
    """

    test: Amount = 0
    validation: Amount = 0
    test_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    validation_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    seed: int = 0
    given: dict[str, Split] = Field(default_factory=dict)
    absent: dict[str, Split] = Field(default_factory=dict)

    def amount(self, split: str, dataset: str) -> Amount:
        """Return the amount of one dataset for `test` or `validation`."""
        every: Amount = getattr(self, split)
        return getattr(self, f"{split}_by_dataset").get(dataset, every)

    def named(self) -> set[str]:
        """Return the datasets that have an amount of their own."""
        return {*self.test_by_dataset, *self.validation_by_dataset}


@cache
def split_presets() -> dict[str, SplitRequest]:
    """Return the splits that were published, by name."""
    rows = tomllib.loads(PRESETS_FILE.read_text(encoding="utf-8"))
    return {name: SplitRequest.model_validate(row) for name, row in rows.items()}


def request_from_words(
    datasets: Collection[str],
    *,
    test: Sequence[str] = (),
    validation: Sequence[str] = (),
    preset: str | None = None,
    seed: int = 0,
    given: Mapping[str, str] | None = None,
) -> SplitRequest:
    """Read a request as a user types it: `0.2` or `6` for every dataset, `btcv=6` for one.

    Args:
        datasets: The manifest's; what a preset says of others is left out.
        test: Amounts for the test split; they take precedence over the preset.
        validation: Amounts for the validation split; they take precedence too.
        preset: Name of a published split.
        seed: Decides which subjects are taken first.
        given: Splits by case id; then no amount and no preset may be named.

    Raises:
        ManifestError: An amount is not well formed, no preset has that name, nothing is asked, or
            something is asked in addition to a given split.
    """
    if given and (preset or test or validation):
        msg = "a given split is complete: leave out --test, --validation and --preset"
        raise ManifestError(msg)
    if not (preset or test or validation or given):
        msg = (
            "nothing is asked: say how much to hold out with --test, --validation or --preset, or "
            "give a split with --given"
        )
        raise ManifestError(msg)
    request = _preset(preset, datasets) if preset else SplitRequest()
    values: dict[str, Any] = {**request.model_dump(), "seed": seed, "given": given or {}}
    for split, words in (("test", test), ("validation", validation)):
        for word in words:
            dataset, _, number = word.rpartition("=")
            amount = _amount(number, split, word)
            if dataset:
                values[f"{split}_by_dataset"][dataset] = amount
            else:
                values[split] = amount
    try:
        return SplitRequest.model_validate(values)
    except ValidationError as error:
        raise ManifestError(explain(error, "the split request")) from error


def assign_splits(manifest: Manifest, request: SplitRequest) -> Manifest:
    """Give every case a split; the cases of one subject stay together, whatever their dataset.

    Related cases count as of one subject, even if their subject ids differ.

    Subjects are ordered by a hash of seed and subject, so neither the order of the rows nor
    another dataset's cases change which are taken. Whole subjects are taken, first for the test
    split, unless that exceeds a dataset's number; so if subjects have several cases, there may be
    fewer cases than requested.

    Raises:
        ManifestError: The request names a dataset that the manifest does not have, a dataset has
            fewer cases than requested, or the given split separates cases of one subject.
    """
    rows = manifest.table.select(COLUMNS).to_pylist()
    subject_of = common_subjects((r["case_id"], r["subject_id"], r["related"]) for r in rows)
    if request.given:
        check_given_split(request.given, subject_of)
        splits = [request.given.get(row["case_id"]) for row in rows]
    else:
        held_out = _held_out(rows, subject_of, request)
        splits = [held_out.get(subject_of[row["case_id"]], "train") for row in rows]
    return manifest.with_columns({"split": splits}, split=request.model_dump(mode="json"))


def keep_splits(manifest: Manifest, earlier: Manifest, default: SplitRequest) -> Manifest:
    """Give every case the split that it had in an earlier manifest, and others one by its request.

    If cases of several splits turn out to be of one subject, all of them go to the split that comes
    first in `SPLITS`: nothing is tested on what was trained on. Cases that are not in the manifest
    now keep their splits on record. A case that is made of others (`a+b`) has the first one's.
    """
    try:
        request = SplitRequest.model_validate(earlier.settings["split"])
    except (KeyError, ValueError):
        request = default
    had = earlier.table.select(["case_id", "split"]).to_pylist()
    known = {**request.absent, **{r["case_id"]: r["split"] for r in had if r["split"]}}
    known |= request.given
    rows = manifest.table.select(COLUMNS).to_pylist()
    subject_of = common_subjects((r["case_id"], r["subject_id"], r["related"]) for r in rows)
    own = {c: s for c in subject_of if (s := known.get(c) or known.get(c.partition("+")[0]))}
    fixed: dict[str, str] = {}
    for case_id, split in own.items():
        subject = subject_of[case_id]
        fixed[subject] = min(split, fixed.get(subject, split), key=SPLITS.index)
    held_out = _take(_subjects(rows, subject_of), request, fixed)
    splits = [
        None
        if request.given and row["case_id"] not in own
        else held_out.get(subject_of[row["case_id"]], "train")
        for row in rows
    ]
    absent = {} if request.given else {c: s for c, s in known.items() if c not in subject_of}
    settings = {**request.model_dump(mode="json"), "absent": absent}
    return manifest.with_columns({"split": splits}, split=settings)


def _held_out(
    rows: Iterable[Mapping[str, Any]], subject_of: Mapping[str, str], request: SplitRequest
) -> dict[str, str]:
    """Return the held-out subjects and their splits."""
    subjects = _subjects(rows, subject_of)
    totals = {dataset: sum(sizes) for dataset, sizes in _sizes(subjects).items()}
    if unknown := request.named() - totals.keys():
        name = min(unknown)
        msg = (
            f"no dataset {name!r} to split{did_you_mean(name, totals)}: the manifest has "
            f"{', '.join(sorted(totals))}"
        )
        raise ManifestError(msg)
    for dataset, total in sorted(totals.items()):
        _check_enough(request, dataset, total)
    return _take(subjects, request, {})


def _subjects(rows: Iterable[Mapping[str, Any]], subject_of: Mapping[str, str]) -> Subjects:
    subjects: Subjects = {}
    for row in rows:
        cases = subjects.setdefault(subject_of[row["case_id"]], {})
        cases[row["dataset"]] = cases.get(row["dataset"], 0) + 1
    return subjects


def _take(subjects: Subjects, request: SplitRequest, fixed: Mapping[str, str]) -> dict[str, str]:
    """Return the splits of subjects beside those `fixed`, which count."""
    totals = {dataset: sum(sizes) for dataset, sizes in _sizes(subjects).items()}
    queue = sorted(subjects, key=lambda s: sha256(f"{request.seed}\n{s}".encode()).digest())
    split_of = dict(fixed)
    for split in HELD_OUT:
        held = _sizes({s: subjects[s] for s, its in fixed.items() if its == split})
        free = {s: subjects[s] for s in queue if s not in split_of}
        sizes = _sizes(free)
        room = {
            dataset: _cases_to_take(request.amount(split, dataset), total, sizes.get(dataset, []))
            - sum(held.get(dataset, []))
            for dataset, total in totals.items()
        }
        for subject, cases in free.items():
            if all(n <= room[dataset] for dataset, n in cases.items()):
                split_of[subject] = split
                for dataset, n in cases.items():
                    room[dataset] -= n
    return split_of


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


def _preset(name: str, datasets: Collection[str]) -> SplitRequest:
    if name not in split_presets():
        msg = (
            f"no split preset {name!r}{did_you_mean(name, split_presets())}: expected one of "
            f"{', '.join(split_presets())}"
        )
        raise ManifestError(msg)
    request = split_presets()[name]
    named = request.named()
    if named.isdisjoint(datasets):
        msg = (
            f"the split preset {name!r} is of {', '.join(sorted(named))}, and the manifest "
            f"has none of them: it has {', '.join(sorted(datasets))}"
        )
        raise ManifestError(msg)
    kept = {
        field: {dataset: n for dataset, n in getattr(request, field).items() if dataset in datasets}
        for field in ("test_by_dataset", "validation_by_dataset")
    }
    return request.model_copy(update=kept)


def _amount(text: str, split: str, word: str) -> Amount:
    with suppress(ValueError):
        if (count := int(text)) >= 0:
            return count
    with suppress(ValueError):
        if 0 < (fraction := float(text)) < 1:
            return fraction
    msg = (
        f"--{split} {word}: expected a fraction of the cases above 0 and below 1, as --{split} "
        f"0.2, or a number of cases, as --{split} 6; of one dataset, as --{split} btcv=6; got "
        f"{text!r}"
    )
    raise ManifestError(msg)


def _sizes(subjects: Subjects) -> dict[str, list[int]]:
    """Return the numbers of cases of the subjects, by dataset."""
    sizes: dict[str, list[int]] = {}
    for cases in subjects.values():
        for dataset, n in cases.items():
            sizes.setdefault(dataset, []).append(n)
    return sizes
