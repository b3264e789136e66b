"""The folds of a manifest's cases: patients dealt by dataset and by what they annotate."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.changes.folds import Traits, deal_folds, shortfalls
from manifests.changes.split_request import SplitRequest
from manifests.classes.label_space import LabelSpace
from manifests.ground.errors import ManifestError
from manifests.table.manifest import Manifest
from manifests.table.subjects import subjects_of

COLUMNS = (
    *("case_id", "dataset", "subject_id", "related", "split", "fold"),
    *("annotated", "voxels"),
)
Row = Mapping[str, Any]


def folds_of(
    manifest: Manifest, request: SplitRequest, known: Mapping[str, int]
) -> list[int | None]:
    """Return the fold of each case for training or validation; None for each if none are asked.

    A patient with a case in the test split is in no fold.

    Args:
        manifest: At least `COLUMNS`, with the splits.
        request: The number of folds, and the column by which they are stratified, too.
        known: Folds that cases keep, by their ids.

    Raises:
        ManifestError: There are fewer patients than folds.
    """
    rows = manifest.table.select(COLUMNS).to_pylist()
    if not request.folds:
        return [None] * len(rows)
    subject_of = subjects_of(rows)
    tested = {subject_of[row["case_id"]] for row in rows if row["split"] == "test"}
    ids = {r["case_id"] for r in rows if r["split"] and subject_of[r["case_id"]] not in tested}
    fixed: dict[str, int] = {}
    for case_id in sorted(ids):
        fold = known.get(case_id, known.get(case_id.partition("+")[0]))
        if fold is not None:
            fixed.setdefault(subject_of[case_id], fold)
    dealt = [row for row in rows if row["case_id"] in ids]
    strata = strata_of(manifest, request)
    patients = _traits(dealt, subject_of, manifest.label_space, strata)
    fold_of = deal_folds(patients, request.folds, seed=request.seed, fixed=fixed)
    return [fold_of[subject_of[r["case_id"]]] if r["case_id"] in ids else None for r in rows]


def fold_shortfalls(manifest: Manifest) -> list[str]:
    """Say which folds have no case of a class that other folds have."""
    rows = [row for row in manifest.table.select(COLUMNS).to_pylist() if row["fold"] is not None]
    subject_of = subjects_of(rows)
    fold_of = {subject_of[row["case_id"]]: row["fold"] for row in rows}
    patients = _traits(rows, subject_of, manifest.label_space, {})
    return shortfalls(patients, fold_of, max(fold_of.values(), default=-1) + 1)


def strata_of(manifest: Manifest, request: SplitRequest) -> dict[str, str]:
    """Return by case id the value of the column by which a request stratifies; empty without one.

    Raises:
        ManifestError: The column holds lists.
    """
    column = request.stratify
    if column is None or column not in manifest.table.column_names:
        return {}
    ids: list[Any] = manifest.table["case_id"].to_pylist()
    values: list[Any] = manifest.table[column].to_pylist()
    if any(isinstance(value, list | dict) for value in values):
        msg = f"--stratify {column}: expected a column with one value for each case, got lists"
        raise ManifestError(msg)
    return dict(zip(ids, map(str, values), strict=True))


def _traits(
    rows: Sequence[Row],
    subject_of: Mapping[str, str],
    space: LabelSpace,
    strata: Mapping[str, str],
) -> dict[str, Traits]:
    """Return how many cases of each patient are of which dataset, and annotate and have what."""
    patients: dict[str, Traits] = {}
    for row in rows:
        traits = patients.setdefault(subject_of[row["case_id"]], Counter())
        traits[f"dataset {row['dataset']}"] += 1
        if row["case_id"] in strata:
            traits[f"stratum {row['dataset']} {strata[row['case_id']]}"] += 1
        voxels = dict(zip(space.names, row["voxels"], strict=False))
        for name in row["annotated"]:
            traits[f"annotated {name}"] += 1
            if voxels.get(name):
                traits[f"present {name}"] += 1
    return patients
