"""From the rows of the cases in a folder to its manifest."""

from collections.abc import Sequence
from dataclasses import asdict

from curate.cases.precedence import Precedence
from curate.cases.target import NATIVE, Target
from curate.duplicates.relations import find_relations, with_relations
from curate.suspicion.outliers import with_outliers
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits, keep_splits
from manifests.ground.errors import ManifestError
from manifests.table.case import Case
from manifests.table.manifest import FILE_NAME, Manifest, read_manifest

DEFAULT_SPLIT = SplitRequest(test=0.2, validation=0.1)


def assemble(
    cases: Sequence[Case],
    target: Target,
    *,
    fuse: bool = False,
    verify: bool = False,
    precedence: Precedence | None = None,
) -> Manifest:
    """Return a manifest of `cases`, related, compared within their datasets, and split.

    Cases keep the splits that they have in the manifest in the folder; new ones are split as it was
    last, or by the default where there is none.

    Args:
        cases: Every one stands in its folder.
        target: What they were made into, and where.
        fuse: Whether cases of one image become one case that annotates what any of them does.
        verify: Whether fused cases that are there are read whole before they are kept.
        precedence: Whom to believe where their labels contradict each other.
    """
    relations, spacing = find_relations(cases), target.spacing_mm
    precedence = precedence or Precedence()
    if fuse:
        from curate.cases.fuse import Fusion, fuse_duplicates  # slow to import

        how = Fusion(target, precedence, verify)
        cases, relations = fuse_duplicates(cases, relations, how)
    manifest = Manifest.of(
        with_outliers(with_relations(cases, relations), target.label_space),
        target.label_space,
        folder=target.folder,
        settings={
            "prepare": {
                "spacing_mm": spacing if spacing == NATIVE else list(spacing),
                "interpolation": target.interpolation,
                **asdict(target.repairs),
                "fuse_duplicates": fuse,
                "precedence": list(precedence.words),
            },
        },
    )
    try:
        earlier = read_manifest(target.folder / FILE_NAME)
    except ManifestError:
        return assign_splits(manifest, DEFAULT_SPLIT)
    return keep_splits(manifest, earlier, DEFAULT_SPLIT)
