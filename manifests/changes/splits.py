"""Splits: which cases train a network, which validate it and which test it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError

from manifests.changes.given_split import check_given_split
from manifests.ground.errors import ManifestError, explain
from manifests.ground.toml_file import StrictModel
from manifests.table.case import Split
from manifests.table.manifest import Manifest
from manifests.table.subjects import common_subjects

PRESETS_FILE = Path(__file__).with_name("split_presets.toml")
COLUMNS = ("case_id", "dataset", "subject_id", "related", "split")
HELD_OUT = ("test", "validation")  # in the order in which they are filled
LEAST_FOR_ONE = 3  # cases of a dataset from which on a fraction takes at least one

Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Amount = Count | Fraction
Number = TypeVar("Number", int, float)
Subjects = dict[str, dict[str, int]]  # subject -> dataset -> number of cases


class SplitRequest(StrictModel):
    """How many cases of each dataset are held out; the rest is for training.

    A number is a count of cases, or a fraction above 0 and below 1 of the dataset's cases.

    Attributes:
        test: For every dataset that `test_by_dataset` does not name.
        validation: Likewise.
        test_by_dataset: By the dataset's name.
        validation_by_dataset: Likewise.
        seed: Decides, with the subject's id, who is taken first.
        given: Splits by case id, made by somebody else; then nothing else is asked, and cases
            that are not named stay unassigned.
    """

    test: Amount = 0
    validation: Amount = 0
    test_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    validation_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    seed: int = 0
    given: dict[str, Split] = Field(default_factory=dict)

    def amount(self, split: str, dataset: str) -> Amount:
        """What is asked of one dataset for `test` or `validation`."""
        every: Amount = getattr(self, split)
        return self._by_dataset(split).get(dataset, every)

    def named(self) -> set[str]:
        """The datasets that are asked for by name."""
        return {name for split in HELD_OUT for name in self._by_dataset(split)}

    def limited_to(self, datasets: Collection[str]) -> Self:
        """The same request without the datasets that are not there."""
        kept = {
            f"{split}_by_dataset": {
                name: n for name, n in self._by_dataset(split).items() if name in datasets
            }
            for split in HELD_OUT
        }
        return self.model_copy(update=kept)

    def _by_dataset(self, split: str) -> dict[str, Amount]:
        return getattr(self, f"{split}_by_dataset")


@cache
def split_presets() -> dict[str, SplitRequest]:
    """The splits that were published, by name."""
    rows = tomllib.loads(PRESETS_FILE.read_text(encoding="utf-8"))
    return {name: SplitRequest.model_validate(row) for name, row in rows.items()}


def request_from_words(
    datasets: Collection[str],
    *,
    test: Iterable[str] = (),
    validation: Iterable[str] = (),
    preset: str | None = None,
    seed: int = 0,
    given: Mapping[str, str] | None = None,
) -> SplitRequest:
    """Read a request as it is typed: `0.2` or `6` for every dataset, `btcv=6` for one.

    Args:
        datasets: Those that are there; what a preset says of others is left out.
        test: Words for the test split; they win over the preset.
        validation: Words for the validation split, likewise.
        preset: Name of a published split.
        seed: The seed.
        given: Splits by case id; then nothing else may be asked.

    Raises:
        ManifestError: A word cannot be understood, no preset has that name, nothing is asked, or
            something is asked beside a given split.
    """
    if given and (preset or [*test, *validation]):
        msg = "a given split is complete: leave out --test, --validation and --preset"
        raise ManifestError(msg)
    base = _preset(preset, datasets).model_dump() if preset else {}
    asked = {**_from_words("test", test, base), **_from_words("validation", validation, base)}
    if not preset and not asked and not given:
        msg = (
            "nothing is asked: say how much to hold out with --test, --validation or --preset, or "
            "give a split with --given"
        )
        raise ManifestError(msg)
    try:
        return SplitRequest.model_validate({**base, **asked, "seed": seed, "given": given or {}})
    except ValidationError as error:
        raise ManifestError(explain(error, "the split request")) from error


def assign_splits(manifest: Manifest, request: SplitRequest) -> Manifest:
    """Give every case a split; the cases of one subject are never parted, whatever the dataset.

    Related cases count as of one subject, even if their subject ids differ.

    Subjects are ordered by a hash of seed and subject, so neither the order of the rows nor
    another dataset's cases change who is taken. Whole subjects are taken, for the test split
    first, wherever that passes no dataset's number; so a number may be missed from below where
    subjects have several cases.

    Raises:
        ManifestError: A dataset that is not there is named, one has fewer cases than asked, or
            the given split parts cases of one subject.
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


def _held_out(
    rows: Iterable[Mapping[str, Any]], subject_of: Mapping[str, str], request: SplitRequest
) -> dict[str, str]:
    """The held-out subjects and their splits, once the request is known to be possible."""
    subjects = _subjects(rows, subject_of)
    totals = {dataset: sum(sizes) for dataset, sizes in _sizes(subjects).items()}
    if unknown := request.named() - totals.keys():
        msg = f"no dataset {min(unknown)!r} to split: the manifest has {', '.join(sorted(totals))}"
        raise ManifestError(msg)
    for dataset, total in sorted(totals.items()):
        _check_enough(request, dataset, total)
    return _plan(subjects, totals, request)


def _plan(subjects: Subjects, totals: Mapping[str, int], request: SplitRequest) -> dict[str, str]:
    """The held-out subjects and their splits."""
    queue = sorted(subjects, key=lambda s: _rank(request.seed, s))
    split_of: dict[str, str] = {}
    for split in HELD_OUT:
        free = {s: subjects[s] for s in queue if s not in split_of}
        sizes = _sizes(free)
        room = {
            dataset: _cases_to_take(request.amount(split, dataset), total, sizes.get(dataset, []))
            for dataset, total in totals.items()
        }
        for subject, cases in free.items():
            if all(n <= room[dataset] for dataset, n in cases.items()):
                split_of[subject] = split
                for dataset, n in cases.items():
                    room[dataset] -= n
    return split_of


def _cases_to_take(amount: Amount, total: int, sizes: Collection[int]) -> int:
    """How many cases to take of one dataset.

    Args:
        amount: What is asked.
        total: The dataset's cases.
        sizes: Numbers of cases of the subjects that are still free.
    """
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
        msg = f"no split preset {name!r}: expected one of {', '.join(split_presets())}"
        raise ManifestError(msg)
    whole = split_presets()[name]
    request = whole.limited_to(datasets)
    if not request.named():
        msg = (
            f"the split preset {name!r} is of {', '.join(sorted(whole.named()))}, and the manifest "
            f"has none of them: it has {', '.join(sorted(datasets))}"
        )
        raise ManifestError(msg)
    return request


def _from_words(split: str, words: Iterable[str], base: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for word in words:
        dataset, _, number = word.rpartition("=")
        if dataset:
            by_dataset = asked.setdefault(
                f"{split}_by_dataset", dict(base.get(f"{split}_by_dataset", {}))
            )
            by_dataset[dataset] = _amount(number, split, word)
        else:
            asked[split] = _amount(number, split, word)
    return asked


def _amount(text: str, split: str, word: str) -> int | float:
    """A count of cases, or a fraction of a dataset's."""
    if (count := _read(int, text)) is not None and count >= 0:
        return count
    if (fraction := _read(float, text)) is not None and 0 < fraction < 1:
        return fraction
    msg = (
        f"--{split} {word}: expected a fraction of the cases above 0 and below 1, as --{split} "
        f"0.2, or a number of cases, as --{split} 6; of one dataset, as --{split} btcv=6; got "
        f"{text!r}"
    )
    raise ManifestError(msg)


def _read(of: type[Number], text: str) -> Number | None:
    try:
        return of(text)
    except ValueError:
        return None


def _subjects(rows: Iterable[Mapping[str, Any]], subject_of: Mapping[str, str]) -> Subjects:
    subjects: Subjects = {}
    for row in rows:
        cases = subjects.setdefault(subject_of[row["case_id"]], {})
        cases[row["dataset"]] = cases.get(row["dataset"], 0) + 1
    return subjects


def _sizes(subjects: Subjects) -> dict[str, list[int]]:
    """Numbers of cases of the subjects, by dataset."""
    sizes: dict[str, list[int]] = {}
    for cases in subjects.values():
        for dataset, n in cases.items():
            sizes.setdefault(dataset, []).append(n)
    return sizes


def _rank(seed: int, subject: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{subject}".encode()).digest()
