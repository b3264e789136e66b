"""Verdicts: the files that the report's page writes, one verdict of a reviewer on a case each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from manifests.ground.errors import OverrideError, explain
from manifests.ground.toml_file import StrictModel

Kind = Literal["keep", "doubt", "leave_out", "sides_swapped", "not_annotated"]
Words = Annotated[str, Field(max_length=10_000)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Verdict(StrictModel):
    """What one reviewer said of one case.

    Attributes:
        classes: With `not_annotated`, the classes that nobody drew.
        reason: A short reason from the page's list.
        time: UTC.
        position_lps_mm: Where the reviewer looked at, if the case was opened.
        label_sha256: The harmonised label that was looked at.
        source_label_sha256: The published label that it was made from.
        overrides: The decisions that were carried out on it.
    """

    case_id: Annotated[str, Field(min_length=1)]
    verdict: Kind
    classes: tuple[Words, ...] = ()
    reason: Words = ""
    text: Words = ""
    reviewer: Words = ""
    time: AwareDatetime
    position_lps_mm: tuple[float, float, float] | None = None
    label_sha256: Hash
    source_label_sha256: Hash
    overrides: tuple[Words, ...] = ()

    @property
    def words(self) -> str:
        """Return the verdict in one line, for people."""
        classes = ", ".join(self.classes)
        parts = (self.verdict.replace("_", " "), classes, self.reason, self.text)
        who = f"{self.reviewer or 'nobody'}, {self.time:%Y-%m-%d}"
        return f"{'; '.join(p.strip() for p in parts if p.strip())} ({who})"


class _File(StrictModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal["marginalia verdicts 1"]
    verdicts: tuple[Verdict, ...]


def read_verdicts(paths: Sequence[Path]) -> list[Verdict]:
    """Read files of verdicts; a reviewer's latest verdict on a case stands for the earlier ones.

    Raises:
        OverrideError: A file cannot be read, or is no file of verdicts.
    """
    latest: dict[tuple[str, str], Verdict] = {}
    for verdict in (v for path in paths for v in _read(path)):
        who = verdict.case_id, verdict.reviewer
        if who not in latest or latest[who].time < verdict.time:
            latest[who] = verdict
    return sorted(latest.values(), key=lambda v: (v.case_id, v.reviewer))


def _read(path: Path) -> tuple[Verdict, ...]:
    what = f"verdicts {path}"
    try:
        return _File.model_validate_json(path.read_bytes()).verdicts
    except OSError as error:
        msg = f"{what} cannot be read: {error}"
        raise OverrideError(msg) from error
    except ValidationError as error:
        raise OverrideError(explain(error, what)) from error
