"""Requests of splits: how many cases are held out, as users and presets say it."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from manifests.ground.errors import ManifestError, explain
from manifests.ground.near_names import did_you_mean
from manifests.ground.toml_file import StrictModel
from manifests.table.case import Split

PRESETS_FILE = Path(__file__).with_name("split_presets.toml")

Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Amount = Count | Fraction


class SplitRequest(StrictModel):
    """How many cases of each dataset are held out; the rest is for training.

    An amount is a count of cases, or a fraction above 0 and below 1 of the dataset's cases. Those
    by dataset take precedence.

    Attributes:
        seed: Decides, with the subject's id, which subjects are taken first.
        given: The splits by case id, made by somebody else; then no other field counts, and cases
            that are not named stay unassigned.
        absent: The splits that cases had which are not in the manifest now; they return with them.
        force: Take a given split though it parts the cases of a patient.
        folds: Number of folds for cross-validation of the cases that are not for the test; 0 is
            none. With a given split, they are dealt of what it names for training and validation.
        absent_folds: The folds of cases that are not in the manifest now.
        stratify: Column of the manifest; of each of its values in a dataset, a share is held out.
    """

    test: Amount = 0
    validation: Amount = 0
    test_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    validation_by_dataset: dict[str, Amount] = Field(default_factory=dict)
    seed: int = 0
    given: dict[str, Split] = Field(default_factory=dict)
    absent: dict[str, Split] = Field(default_factory=dict)
    force: bool = False
    folds: Annotated[int, Field(ge=0, le=100)] = 0
    absent_folds: dict[str, int] = Field(default_factory=dict)
    stratify: str | None = None

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
    **options: Any,  # noqa: ANN401
) -> SplitRequest:
    """Read a request as a user types it: `0.2` or `6` for every dataset, `btcv=6` for one.

    Args:
        datasets: The manifest's; what a preset says of others is left out.
        test: Amounts for the test split; they take precedence over the preset.
        validation: Amounts for the validation split; they take precedence too.
        preset: Name of a published split.
        seed: Decides which subjects are taken first.
        given: Splits by case id; then no amount and no preset may be named.
        options: Further fields of the request: `force`, `folds` and `stratify`.

    Raises:
        ManifestError: An amount is not well formed, no preset has that name, nothing is asked, or
            something is asked in addition to a given split.
    """
    if given and (preset or test or validation):
        msg = "a given split is complete: leave out --test, --validation and --preset"
        raise ManifestError(msg)
    if not (preset or test or validation or given or options.get("folds")):
        msg = (
            "nothing is asked: say how much to hold out with --test, --validation or --preset, "
            "give a split with --given, or ask for --folds"
        )
        raise ManifestError(msg)
    request = _preset(preset, datasets) if preset else SplitRequest()
    values: dict[str, Any] = {**request.model_dump(), "seed": seed, "given": given or {}}
    values |= options
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
