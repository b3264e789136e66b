"""Cases that were set aside, and the list of them that a user reads."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.datasets.discover import SourceCase
from manifests.ground.atomic import write_text
from manifests.ground.findings import Finding

NAME = "rejected.csv"
SKIPPED = "skipped"
HEADING = ["dataset", "case", "code", "reason", "image", "label"]


@dataclass(frozen=True)
class Rejected:
    """A case that was set aside, and why."""

    case: SourceCase
    finding: Finding


def write_rejected(
    rejected: Sequence[Rejected], folder: Path, *, datasets: Collection[str]
) -> None:
    """Write `rejected.csv`: one line per case, with its reason; only a heading if there is none.

    `datasets` are those that were looked at now; the lines of others stay.
    """
    lines = [line for line in _read(folder / NAME) if line[0] not in datasets]
    for case, finding in ((r.case, r.finding) for r in rejected):
        names = (case.dataset, case.name, finding.code, finding.reason)
        lines.append([*names, str(case.image), str(case.label)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADING, *sorted(lines)])
    write_text(folder / NAME, text.getvalue())


def skipped_ids(folder: Path) -> set[str]:
    """Return the ids of cases that an override left out when their datasets were prepared last."""
    lines = _read(folder / NAME)
    return {f"{dataset}/{case}" for dataset, case, code, *_ in lines if code == SKIPPED}


def _read(path: Path) -> list[list[str]]:
    try:
        heading, *lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, csv.Error):
        return []  # it was not there, or somebody changed it
    return [line for line in lines if len(line) == len(HEADING)] if heading == HEADING else []
