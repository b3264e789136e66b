"""From the rows of the cases in a folder to its manifest."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curate import record
from curate.target import Target
from manifests.case import Case
from manifests.errors import ManifestError
from manifests.findings import Finding
from manifests.manifest import FILE_NAME, Manifest, read_manifest
from manifests.splits import SplitRequest, assign_splits

DEFAULT_SPLIT = SplitRequest(test=0.2, validation=0.1)


def cases_of_other_datasets(names: set[str], target: Target) -> list[Case]:
    """Whole cases in the folder, made with the same settings, of datasets beside `names`."""
    settings = record.settings_key(target)
    folders = sorted((target.folder / "cases").glob("*/*"))
    rows = (record.read_record(f, settings) for f in folders if f.parent.name not in names)
    return [row for row in rows if row is not None]


def assemble(cases: Sequence[Case], target: Target) -> tuple[Manifest, str]:
    """A manifest of `cases`, duplicates noted and split, and what a user should know of it.

    The split is the one that the manifest in the folder was given last; where these cases do not
    allow it any more, or there is none, the default one.
    """
    manifest = Manifest.of(
        _with_duplicates_noted(cases),
        target.label_space,
        folder=target.folder,
        settings={"prepare": {"spacing_mm": list(target.spacing_mm)}},
    )
    try:
        return assign_splits(manifest, _last_split(target.folder)), ""
    except ManifestError as error:
        remark = f"the earlier split cannot be kept, the default one was assigned: {error}"
        return assign_splits(manifest, DEFAULT_SPLIT), remark


def _last_split(folder: Path) -> SplitRequest:
    try:
        settings = read_manifest(folder / FILE_NAME).settings
        return SplitRequest.model_validate(settings["split"])
    except (ManifestError, KeyError, ValueError):
        return DEFAULT_SPLIT


def _with_duplicates_noted(cases: Sequence[Case]) -> list[Case]:
    same: defaultdict[str, list[str]] = defaultdict(list)
    for case in cases:
        same[case.fingerprint].append(case.case_id)
    return [_note_duplicates(c, same[c.fingerprint]) for c in cases]


def _note_duplicates(case: Case, same: Sequence[str]) -> Case:
    others = sorted(set(same) - {case.case_id})
    if not others:
        return case
    finding = Finding("duplicate_image", f"the same voxels as {', '.join(others)}")
    return replace(case, findings=(*case.findings, finding))
