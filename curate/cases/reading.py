"""Reading a case's image and label onto one grid; every defect has its finding."""

from collections.abc import Collection

import numpy as np

from curate.datasets.discover import SourceCase
from curate.labels.label_files import read_map, read_masks
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.volume import Volume, read_volume

__all__ = ["SetAsideError", "read_case"]


def read_case(case: SourceCase, values: Collection[int]) -> tuple[Volume, Volume, list[Finding]]:
    """Read a case's image and label onto one grid.

    Args:
        case: Says where the files lie.
        values: The label values that the recipe lists.

    Returns:
        The image in Hounsfield units (any number type), the label (uint8 or uint16, only 0 and
        `values`), and what was noticed.

    Raises:
        SetAsideError: The case cannot be used as it is.
    """
    scan = to_hounsfield(read_volume(case.image), case.image)
    grid, noticed = scan.grid, [*scan.findings, *_spacing(scan.grid)]
    if case.masks:
        label, found = read_masks(case.label, case.masks, grid)
    else:
        label, found = read_map(case.label, grid, values)
    if not label.any():
        found.append(Finding("label_empty", f"{case.label} holds 0 only"))
    return scan, Volume(label, grid), [*noticed, *_of_label(found, noticed)]


def _spacing(grid: Grid) -> list[Finding]:
    lost = np.array_equal(grid.spacing_mm, (1, 1, 1))
    return [Finding("spacing_suspect", "the header says 1 x 1 x 1 mm")] if lost else []


def _of_label(found: list[Finding], image: list[Finding]) -> list[Finding]:
    """What was noticed of the label alone: most of what is odd in a header is odd in both."""
    codes = {f.code for f in image}
    return [Finding(f.code, f"label: {f.reason}") for f in found if f.code not in codes]
