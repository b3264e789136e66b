"""A split that somebody else made: a table of cases and their splits."""

import csv
from collections.abc import Mapping
from pathlib import Path

from manifests.ground.errors import ManifestError
from manifests.table.case import SPLITS
from manifests.table.subjects import separated_cases

COLUMNS = ("case_id", "split")
MOST_LISTED = 20


def read_given_split(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns `case_id` and `split`.

    Raises:
        ManifestError: The file cannot be read, or a row is not well formed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"the split {path} cannot be read: {error}"
        raise ManifestError(msg) from error
    given: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        case_id, split = (row.get(name) or "" for name in COLUMNS)
        if not case_id or split not in SPLITS or given.get(case_id, split) != split:
            msg = (
                f"{path}, row {line}: expected the columns case_id, once each, and split, one of "
                f"{', '.join(SPLITS)}; got {row}"
            )
            raise ManifestError(msg)
        given[case_id] = split
    if not given:
        msg = f"the split {path} names no case"
        raise ManifestError(msg)
    return given


def check_given_split(given: Mapping[str, str], subject_of: Mapping[str, str]) -> None:
    """Refuse a given split that a manifest's cases cannot have.

    Args:
        given: Splits by case id.
        subject_of: The common subjects of the manifest's cases.

    Raises:
        ManifestError: It names a case that the manifest does not have, or separates related cases.
    """
    if unknown := sorted(given.keys() - subject_of.keys()):
        msg = f"the split names {len(unknown)} cases that the manifest has not: {unknown[0]!r} ..."
        raise ManifestError(msg)
    separated = [
        f"{case_id} in {given[case_id]}, {other} in {given[other]}"
        for case_id, other in separated_cases(given, subject_of)
    ]
    if separated:
        head = (
            "the split parts cases of one patient, so that one would be tested on what it was "
            "trained on; put them into one split, or leave one of them out:"
        )
        more = [f"and {len(separated) - MOST_LISTED} more"] if len(separated) > MOST_LISTED else []
        msg = "\n  ".join([head, *separated[:MOST_LISTED], *more])
        raise ManifestError(msg)
