"""The slices on which a DICOM label was drawn, where the image was resampled from them."""

from pathlib import Path

from curate.recipes.layouts import DicomLayout, SegmentsLayout
from curate.slicer_labels.segmented_label import SegmentedLabel
from manifests.volumes.grid import Grid
from manifests.volumes.readers.dicom import plan_series
from manifests.volumes.readers.dicom_series import SeriesPlan
from manifests.volumes.readers.repairs import AS_USUAL, Repairs, is_resampled
from manifests.volumes.readers.slice_grid import SliceGrid
from manifests.volumes.volume import Volume


def grid_of_label(
    label: SegmentedLabel,
    layout: SegmentsLayout,
    scan: Volume,
    *,
    image: Path,
    repairs: Repairs = AS_USUAL,
) -> tuple[Grid, SeriesPlan | None]:
    """Return the grid on which a label's masks are read, and how to get from it to the scan's.

    The frames and contours of DICOM lie on the slices as they were scanned. On the grid of a scan
    that was resampled from these, they would be between the rows, or on some of its layers alone.
    """
    if not isinstance(layout, DicomLayout) or not is_resampled(scan.findings):
        return scan.grid, None
    plan = plan_series(image, repairs, series=label.series)
    return SliceGrid.of_plan(plan, scan.grid), plan
