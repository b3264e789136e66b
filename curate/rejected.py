"""Cases that were set aside, and the list of them that a user reads."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.discover import SourceCase
from manifests.atomic import write_text
from manifests.findings import Finding

NAME = "rejected.csv"


@dataclass(frozen=True)
class Rejected:
    """A case that was set aside, and why."""

    case: SourceCase
    finding: Finding


def write_rejected(rejected: Sequence[Rejected], folder: Path) -> None:
    """Write `rejected.csv`: one line per case, with its reason; only a heading if there is none."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["dataset", "case", "code", "reason", "image", "label"])
    for r in rejected:
        c = r.case
        rows.writerow([c.dataset, c.name, r.finding.code, r.finding.reason, c.image, c.label])
    write_text(folder / NAME, text.getvalue())
