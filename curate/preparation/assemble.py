"""From the rows of the cases in a folder to its manifest."""

from collections.abc import Sequence
from pathlib import Path

from curate.cases.fuse import fuse_duplicates
from curate.cases.target import Target
from curate.duplicates.relations import find_relations, with_relations
from manifests.changes.splits import SplitRequest, assign_splits
from manifests.ground.errors import ManifestError
from manifests.table.case import Case
from manifests.table.manifest import FILE_NAME, Manifest, read_manifest

DEFAULT_SPLIT = SplitRequest(test=0.2, validation=0.1)


def assemble(
    cases: Sequence[Case], target: Target, *, fuse: bool = False, verify: bool = False
) -> tuple[Manifest, str]:
    """Return a manifest of `cases`, related and split, and what a user should know of it.

    The split is the one that the manifest in the folder was given last; where these cases do not
    allow it any more, or there is none, the default one.

    Args:
        cases: Every one stands in its folder.
        target: What they were made into, and where.
        fuse: Whether cases of one image become one case that annotates what any of them does.
        verify: Whether fused cases that are there are read whole before they are kept.
    """
    relations = find_relations(cases)
    if fuse:
        cases, relations = fuse_duplicates(cases, relations, target, verify=verify)
    manifest = Manifest.of(
        with_relations(cases, relations),
        target.label_space,
        folder=target.folder,
        settings={
            "prepare": {
                "spacing_mm": list(target.spacing_mm),
                "interpolation": target.interpolation,
                "fuse_duplicates": fuse,
            },
        },
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
