"""Reading a case's image and label onto one grid; every defect has its finding."""

from collections.abc import Collection
from functools import partial

import numpy as np

from curate.datasets.discover import SourceCase
from curate.labels.label_files import LabelArray, paint_masks, read_map, read_masks
from curate.labels.slice_labels import read_by_slices
from curate.recipes.layouts import SegmentsLayout
from manifests.ground.findings import Finding
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.readers.layers import on_grid
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.volume import Volume, read_volume


def read_case(
    case: SourceCase, values: Collection[int], repairs: Repairs = AS_USUAL
) -> tuple[Volume, Volume, list[Finding]]:
    """Read a case's image and label onto one grid.

    Returns:
        The image in Hounsfield units (any number type), the label (uint8 or uint16, only 0 and
        `values`, which the recipe lists), and what was noticed.

    Raises:
        SetAsideError: The case cannot be used as it is.
    """
    scan, label, found = _read(case, values, repairs)
    grid, noticed = scan.grid, list(scan.findings)
    if np.array_equal(grid.spacing_mm, (1, 1, 1)):
        noticed.append(Finding("spacing_suspect", "the header says 1 x 1 x 1 mm"))
    if not label.any():
        found.append(Finding("label_empty", f"{case.label} holds 0 only"))
    # most of what is odd in a header is odd in both
    codes = {f.code for f in noticed}
    of_label = [Finding(f.code, f"label: {f.reason}") for f in found if f.code not in codes]
    return scan, Volume(label, grid), [*noticed, *of_label]


def _read(
    case: SourceCase, values: Collection[int], repairs: Repairs
) -> tuple[Volume, LabelArray, list[Finding]]:
    if case.segments:
        return _read_segments(case, case.segments, repairs)
    scan = to_hounsfield(read_volume(case.image, repairs), case.image)
    if case.masks:
        names = [case.mask_name(name) for name in case.masks]
        return scan, *read_masks(case.label, names, scan.grid)
    if case.by_slices:
        return scan, *read_by_slices(case.label, case.image, scan.grid, values)
    return scan, *read_map(case.label, scan.grid, values)


def _read_segments(
    case: SourceCase, layout: SegmentsLayout, repairs: Repairs
) -> tuple[Volume, LabelArray, list[Finding]]:
    """Read a label whose segments have names; DICOM's lie on the slices as they were scanned."""
    from curate.labels.scanned_slices import grid_of_label  # slow to import
    from curate.slicer_labels.segmented_label import open_segmented

    segments = open_segmented(case.label, layout).of_series(case.image)
    scan = read_volume(case.image, repairs, series=segments.series)
    grid, plan = grid_of_label(segments, layout, scan, image=case.image, repairs=repairs)
    scan = to_hounsfield(scan, case.image)
    label, found = paint_masks(case.masks, partial(segments.mask, grid=grid), grid)
    if plan:
        label, _ = on_grid(label, plan.layers, plan.step_mm, is_label=True)
    return scan, label, found
