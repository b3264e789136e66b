"""A folder of 3D Slicer's segmentations: what its cases call their segments."""

from collections.abc import Sequence
from pathlib import Path

from curate.datasets.discover import SourceCase, published
from curate.drafts.segment_counts import count_names
from curate.recipes.layouts import Layout, PairsLayout, SlicerLayout
from manifests.ground.findings import SetAsideError
from manifests.volumes.readers.slicer import is_slicer, read_segments


def look_at_slicer(folder: Path, layout: Layout) -> tuple[SlicerLayout, dict[str, int]] | None:
    """Return the layout of pairs whose labels have named segments, and the cases of each name.

    None if the labels are others, or none of them names its segments.
    """
    if not isinstance(layout, PairsLayout) or not all(is_slicer(Path(p)) for p in layout.labels):
        return None
    counts = count_names(_segments(list(published(layout, folder))))
    places = {"case": layout.case, "images": layout.images, "labels": layout.labels}
    return (SlicerLayout(kind="slicer", roots=layout.roots, **places), counts) if counts else None


def _segments(cases: Sequence[SourceCase]) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for case in cases:
        try:
            segments = read_segments(case.label)
        except SetAsideError:  # told when the case is read
            continue
        found[case.name] = [(n, s.name) for n, s in enumerate(segments, start=1)]
    return found
