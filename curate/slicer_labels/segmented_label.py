"""Labels whose segments have names: DICOM's, and 3D Slicer's."""

from collections.abc import Sequence
from pathlib import Path

from curate.dicom_labels.dicom_label import DicomLabel, open_label
from curate.recipes.layouts import SegmentsLayout, SlicerLayout
from curate.slicer_labels.slicer_label import SlicerLabel

SegmentedLabel = DicomLabel | SlicerLabel


def open_segmented(place: Path, layout: SegmentsLayout) -> SegmentedLabel:
    """Return a label whose segments have names; a damaged one raises now, or when it is asked.

    Raises:
        SetAsideError: There is none, or it is damaged.
    """
    return SlicerLabel(place) if isinstance(layout, SlicerLayout) else open_label(place, layout)


def held_names(label: SegmentedLabel, names: Sequence[str]) -> frozenset[str]:
    """Return those names of a recipe that mean a segment of a label."""
    return frozenset(name for name in names if label.has(name))
