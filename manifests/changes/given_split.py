"""A split that somebody else made: a table of cases and their splits."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from manifests.ground.errors import ManifestError
from manifests.table.case import SPLITS, TABLE_PREFIX
from manifests.table.manifest import Manifest, read_manifest
from manifests.table.row_groups import with_column
from manifests.table.subjects import subjects_of

COLUMNS = ("case_id", "split")
MOST_LISTED = 20
PARTED = "patient_parted"
OFFICIAL = f"{TABLE_PREFIX}split"


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


def official_split(path: Path) -> dict[str, str]:
    """Return the splits that publishers made, of the cases for which a dataset's table tells one.

    Raises:
        ManifestError: The manifest has none.
    """
    manifest = with_column(read_manifest(path, ["case_id"]), path, OFFICIAL)
    ids, splits = (manifest.table[name].to_pylist() for name in ("case_id", OFFICIAL))
    return {str(i): str(s) for i, s in zip(ids, splits, strict=True) if s in SPLITS}


def check_given_split(
    given: Mapping[str, str], subject_of: Mapping[str, str], *, force: bool = False
) -> None:
    """Refuse a given split that a manifest's cases cannot have.

    Args:
        given: Splits by case id.
        subject_of: The common subjects of the manifest's cases.
        force: Whether the cases of a patient may stand in several splits.

    Raises:
        ManifestError: It names a case that the manifest does not have, or parts a patient's cases.
    """
    if unknown := sorted(given.keys() - subject_of.keys()):
        msg = f"the split names {len(unknown)} cases that the manifest has not: {unknown[0]!r} ..."
        raise ManifestError(msg)
    parted = _parted_patients(given, subject_of)
    if parted and not force:
        head = (
            f"the split parts cases of one patient, and of {len(parted)} patients in all, so that "
            f"a network would be tested on whom it was trained on; put them into one split, leave "
            f"some of them out, or insist with --force, which their findings will tell:"
        )
        lines = [f"{patient}: {_some(cases)}" for patient, cases in parted.items()]
        more = [f"and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
        msg = "\n  ".join([head, *lines[:MOST_LISTED], *more])
        raise ManifestError(msg)


def parted_findings(manifest: Manifest) -> list[list[dict[str, str]]]:
    """Return the cases' findings, with one for each case of a patient who is in several splits.

    Args:
        manifest: At least the columns of ids, subjects, splits and findings.
    """
    columns = ["case_id", "subject_id", "related", "split", "findings"]
    rows = manifest.table.select(columns).to_pylist()
    subject_of = subjects_of(rows)
    splits = {row["case_id"]: row["split"] for row in rows if row["split"]}
    parted = _parted_patients(splits, subject_of)
    found: list[list[dict[str, str]]] = []
    for row in rows:
        kept = [f for f in row["findings"] if f["code"] != PARTED]
        patient = subject_of[row["case_id"]]
        if patient in parted and row["case_id"] in splits:
            kept.append({"code": PARTED, "reason": f"{patient}: {_some(parted[patient])}"})
        found.append(kept)
    return found


def _parted_patients(
    splits: Mapping[str, str], subject_of: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the cases, with their splits in words, of each patient who is in several splits."""
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for case_id in sorted(splits):
        cases[subject_of[case_id]].append(case_id)
    return {
        patient: [f"{case_id} in {splits[case_id]}" for case_id in ids]
        for patient, ids in cases.items()
        if len({splits[case_id] for case_id in ids}) > 1
    }


def _some(words: list[str]) -> str:
    more = f" and {len(words) - MOST_LISTED} more" if len(words) > MOST_LISTED else ""
    return ", ".join(words[:MOST_LISTED]) + more
