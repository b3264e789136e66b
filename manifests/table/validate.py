"""Validation: the errors in a manifest, row by row."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from manifests.classes.completion import is_finer, origins_of
from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes, as_blocks, is_merged, merged_classes
from manifests.ground.findings import MEANINGS
from manifests.table.case import BY_CLASS, COMPLETION, PATHS, SCHEMA, SPLITS
from manifests.table.manifest import Manifest, read_manifest
from manifests.table.row_groups import read_row_groups
from manifests.table.subjects import common_subjects, separated_cases
from manifests.table.volume_files import Mismatch, file_mismatches, hash_mismatches

Row = dict[str, Any]
MM3_PER_ML = 1000.0
ROUNDING = 1e-6  # relative; volumes are doubles
VECTORS_IN_SPACE = (
    *("source_size", "source_spacing_mm", "source_origin_mm"),
    *("size", "spacing_mm", "origin_mm"),
)
VECTORS_OF_CLASSES = ("merged", "voxels", "volume_ml")
COLUMNS_OF_ALL = ["case_id", "subject_id", "related", "split", "fold", *PATHS]
COLUMNS_OF_ONE = [name for name in SCHEMA.names if name != "fingerprint"]  # any text will do


@dataclass(frozen=True)
class Problem:
    """One cell that is wrong, or the file that it names."""

    case_id: str
    column: str
    expected: str
    got: str


RowCheck = Callable[[Row, LabelSpace], Iterable[Mismatch]]


def validate(path: Path, *, files: bool = True, hashes: bool = False) -> list[Problem]:
    """List what is wrong with a manifest on disk; an empty list is a sound manifest.

    Args:
        path: The file, or the folder that holds `manifest.parquet`.
        files: Whether to check the headers and sizes of the volumes.
        hashes: Whether to read the volumes whole and compare their hashes; implies `files`.

    Raises:
        ManifestError: See `read_manifest`.
    """
    every = read_manifest(path, COLUMNS_OF_ALL, unique=False)
    problems = _table_problems(every.table.to_pylist())
    for part in read_row_groups(path):
        rows: list[Row] = part.table.select(COLUMNS_OF_ONE).to_pylist()
        for row in rows:
            mismatches = _row_mismatches(row, part.label_space)
            if files or hashes:
                mismatches += file_mismatches(part, row)
            if hashes:
                mismatches += hash_mismatches(part, row)
            problems += (Problem(row["case_id"], *mismatch) for mismatch in mismatches)
    return problems


def unsound_rows(manifest: Manifest) -> dict[str, str]:
    """Return what is wrong with the form or the grid of each unsound row, by case id."""
    found: dict[str, str] = {}
    for row in manifest.table.select(COLUMNS_OF_ONE).to_pylist():
        for column, expected, got in _row_mismatches(row, manifest.label_space, (_positive,))[:1]:
            found[row["case_id"]] = (
                f"its row in the manifest is damaged: {column}: expected {expected}, got {got}; "
                f"see `marginalia validate`"
            )
    return found


def _row_mismatches(
    row: Row, space: LabelSpace, content_checks: tuple[RowCheck, ...] | None = None
) -> list[Mismatch]:
    # the content is checked only if the form is right
    for checks in (FORM_CHECKS, content_checks or CONTENT_CHECKS):
        if found := [mismatch for check in checks for mismatch in check(row, space)]:
            return found
    return []


# Checks of the table.


def _table_problems(rows: list[Row]) -> list[Problem]:
    return [*_unique_ids(rows), *_subjects(rows), *_distinct_files(rows)]


def _unique_ids(rows: list[Row]) -> Iterator[Problem]:
    for case_id, n in Counter(row["case_id"] for row in rows).items():
        if n > 1:
            yield Problem(case_id, "case_id", "one row", f"{n} rows")


def _subjects(rows: list[Row]) -> Iterator[Problem]:
    subject_of = common_subjects(
        (row["case_id"], row["subject_id"], [r for r in row["related"] if r]) for row in rows
    )
    by_id = {row["case_id"]: row for row in rows}
    for column in ("split", "fold"):
        parts = {i: str(row[column]) for i, row in by_id.items() if row[column] is not None}
        for case_id, other in separated_cases(parts, subject_of):
            same = by_id[case_id]["subject_id"] == by_id[other]["subject_id"]
            tie = "of the same subject" if same else "of the same image or patient"
            got = f"{parts[case_id]}, with {other} {tie} in {parts[other]}"
            yield Problem(case_id, column, f"one {column} for each subject", got)
    for row in rows:
        expected = subject_of[row["case_id"]]
        if row["subject_id"] != expected:
            got = f"{row['subject_id']}, with the related cases {_words(row['related'])}"
            yield Problem(row["case_id"], "subject_id", f"{expected}, as of related cases", got)


def _distinct_files(rows: list[Row]) -> Iterator[Problem]:
    users: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        for column in (name for name in PATHS if row[name] is not None):
            users[column, row[column]].append(row["case_id"])
    for (column, path), cases in users.items():
        for case_id in cases[1:]:
            yield Problem(case_id, column, "a file of its own", f"{path}, the file of {cases[0]}")


# Checks of a row's form.


def _no_nulls(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    for column, value in row.items():
        if column not in BY_CLASS and isinstance(value, list) and _holds_null(value):
            yield column, "no empty cells", f"{value}"


def _lengths(row: Row, space: LabelSpace) -> Iterator[Mismatch]:
    wanted = {**dict.fromkeys(VECTORS_IN_SPACE, 3), **dict.fromkeys(VECTORS_OF_CLASSES, len(space))}
    wanted |= {column: len(space) for column in BY_CLASS if row[column] is not None}
    for column, length in wanted.items():
        if len(row[column]) != length:
            yield column, f"{length} numbers", f"{len(row[column])}: {row[column]}"


def _disjoint_blocks(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    if _holds_null(row["blocks"]):
        return  # another check reports it
    try:
        as_blocks(row["blocks"])
    except ValueError as error:
        yield "blocks", "sets of structures that do not overlap", str(error)


# Checks of a row's content.


def _known_split(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    if row["split"] is not None and row["split"] not in SPLITS:
        yield "split", f"one of {', '.join(SPLITS)}, or none", repr(row["split"])


def _known_findings(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    for finding in row["findings"]:
        if finding["code"] not in MEANINGS:
            yield "findings", "a code that this version knows", repr(finding["code"])


def _merged_and_annotated(row: Row, space: LabelSpace) -> Iterator[Mismatch]:
    merged, join = row["merged"], list(merged_classes(as_blocks(row["blocks"]), space))
    if not is_merged(merged):
        yield "merged", "each class sent to the smallest of its group", f"{merged}"
    elif merged != join:
        yield "merged", f"{join}, the join of blocks and label space", f"{merged}"
    expected = [space.names[n] for n in annotated_classes(join)]
    if row["annotated"] != expected:
        yield "annotated", _words(expected), _words(row["annotated"])


def _completion(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    given = [name for name in COMPLETION if row[name] is not None]
    if not given:
        return
    if len(given) < len(COMPLETION):
        yield "completed", f"all or none of {', '.join(COMPLETION)}", f"only {', '.join(given)}"
        return
    finer = row["completed_merged"]
    if not is_finer(finer, row["merged"]):
        yield "completed_merged", f"groups of merged, {row['merged']}, or parts of them", f"{finer}"
    elif row["origin"] != (expected := list(origins_of(row["merged"], finer))):
        yield "origin", f"{expected}, by merged and completed_merged", f"{row['origin']}"


def _positive(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    for column in ("source_spacing_mm", "spacing_mm", "source_size", "size"):
        if not all(math.isfinite(n) and n > 0 for n in row[column]):
            yield column, "three finite numbers above 0", f"{row[column]}"


def _voxels(row: Row, space: LabelSpace) -> Iterator[Mismatch]:
    voxels = row["voxels"]
    join = merged_classes(as_blocks(row["blocks"]), space)
    stray = [n for n, count in enumerate(voxels) if count and join[n] != n]
    ignored, whole = row["ignored"], math.prod(row["size"])
    if any(count < 0 for count in [*voxels, ignored]):
        yield "voxels", "counts from 0", f"{voxels}, and {ignored} ignored"
    elif stray:
        names = _words([space.names[n] for n in stray])
        yield "voxels", "0 for a class that is merged into another", f"{names}: {voxels}"
    elif sum(voxels) + ignored != whole:
        got = f"{sum(voxels) + ignored}: {voxels}, and {ignored} ignored"
        yield "voxels", f"{whole} in all, by size", got


def _volumes(row: Row, _: LabelSpace) -> Iterator[Mismatch]:
    voxel_ml = math.prod(row["spacing_mm"]) / MM3_PER_ML
    expected = [count * voxel_ml for count in row["voxels"]]
    if not all(map(partial(math.isclose, rel_tol=ROUNDING), row["volume_ml"], expected)):
        yield "volume_ml", f"{expected}, by voxels and spacing_mm", f"{row['volume_ml']}"


def _holds_null(values: Iterable[Any]) -> bool:
    nested = (
        v.values() if isinstance(v, dict) else v for v in values if isinstance(v, dict | list)
    )
    return any(v is None for v in values) or any(map(_holds_null, nested))


def _words(names: list[str]) -> str:
    return ", ".join(names) or "none"


FORM_CHECKS: tuple[RowCheck, ...] = (_no_nulls, _lengths, _disjoint_blocks)
CONTENT_CHECKS: tuple[RowCheck, ...] = (
    *(_known_split, _known_findings, _merged_and_annotated, _completion),
    *(_positive, _voxels, _volumes),
)
