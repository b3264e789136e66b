"""Renal fusion: how to see that one component is two kidneys, and where to cut it."""

from dataclasses import dataclass
from itertools import product

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from curate.kidneys.midline import LEFT, RIGHT, Midline
from curate.kidneys.run_length import Floats, RunLengthMask
from manifests.volumes.downsampling import bin_means
from manifests.volumes.grid import MM3_PER_ML
from manifests.volumes.volume import Volume

KIDNEY_ML = 20.0  # a component of this volume is a kidney, or half of a fused one
ISTHMUS_WINDOW_MM = 50.0
ISTHMUS_RATIO = 0.5  # 47 kidneys have 1.8 to 2.5 at their best cut, a horseshoe kidney has 0.16
SMOOTH_MM = 2.0  # columns of voxels would beat with the bins
# The kidneys of KiTS19 that are not fused, with tumours of up to 1.5 L, fill 0.79 of their convex
# hull or more; a crossed fused one fills 0.60, a horseshoe 0.47.
FUSED_SOLIDITY = 0.75
FUSED_ML = 150.0  # less is a part of one kidney, whose hollow side may be in view alone
COARSE_MM = 4.0
HULL_EDGE = 0.05  # voxels: without it, a flat component would have no hull


@dataclass(frozen=True)
class Isthmus:
    """The sagittal plane where a component is narrowest.

    Attributes:
        x_mm: LPS.
        area_mm2: The component's section.
        lesser_ml: The volume of the lesser part.
    """

    x_mm: float
    area_mm2: float
    lesser_ml: float


def find_isthmus(component: RunLengthMask, midline: Midline) -> Isthmus | None:
    """Find where a fused pair is to be cut, if it has an isthmus.

    A cut is judged by its area over the lesser part's volume to the power 2/3, which has no unit:
    1.9 where a ball is halved, near 0 at a thread between two balls. Both parts have the volume of
    a kidney, their centres are on opposite sides of the midline, and the cut is near it.
    """
    low_mm, slice_ml = _profile_ml(component)
    # voxels that lie farther apart than the bins would leave gaps that look like necks
    blur_mm = max(SMOOTH_MM, float(np.abs(component.grid.steps_mm[0]).sum()) / 2)
    area_mm2 = ndimage.gaussian_filter1d(MM3_PER_ML * slice_ml, blur_mm)
    cuts_mm = low_mm + np.arange(1, len(slice_ml))
    area_mm2 = (area_mm2[1:] + area_mm2[:-1]) / 2
    moments = slice_ml * (low_mm + np.arange(len(slice_ml)) + 0.5 - midline.x_mm)
    right_ml, left_ml = np.cumsum(slice_ml)[:-1], np.cumsum(slice_ml[::-1])[-2::-1]
    opposite = (np.cumsum(moments)[:-1] < 0) & (np.cumsum(moments[::-1])[-2::-1] > 0)
    lesser_ml = np.minimum(right_ml, left_ml)
    near = abs(cuts_mm - midline.x_mm) <= ISTHMUS_WINDOW_MM
    allowed = opposite & near & (lesser_ml >= KIDNEY_ML)
    ratio = np.where(allowed, area_mm2 / np.maximum(MM3_PER_ML * lesser_ml, 1) ** (2 / 3), np.inf)
    best = int(np.argmin(ratio))
    if ratio[best] > ISTHMUS_RATIO:
        return None
    return Isthmus(float(cuts_mm[best]), float(area_mm2[best]), float(lesser_ml[best]))


def is_fused(component: RunLengthMask) -> bool:
    """Tell whether a component leaves its convex hull too empty for one kidney with a tumour."""
    return component.volume_ml >= FUSED_ML and solidity(component) < FUSED_SOLIDITY


def solidity(component: RunLengthMask) -> float:
    """Return the share of their convex hull that a component's lobes fill; 1 if it has none.

    Lobes are what is left without threads and thin plates, and without what only these join to it.
    The hull is that of their voxel centres, so the share of a small lobe may exceed 1.
    """
    coarse = _coarse(component)
    opened = ndimage.binary_opening(coarse.voxels)
    lobes = cc3d.dust(opened, threshold=KIDNEY_ML / coarse.grid.voxel_ml, connectivity=26)
    if not lobes.any():
        return 1.0
    shell = lobes & np.logical_not(ndimage.binary_erosion(lobes))
    corners = np.array(list(product((-HULL_EDGE, HULL_EDGE), repeat=3)))
    position_mm = coarse.grid.position_mm(np.argwhere(shell)[:, None, ::-1] + corners)
    hull_ml = ConvexHull(position_mm.reshape(-1, 3)).volume / MM3_PER_ML
    return float(np.count_nonzero(lobes) * coarse.grid.voxel_ml / hull_ml)


def _coarse(component: RunLengthMask) -> Volume:
    """Bring a component to voxels of some millimetres: 1 where it fills half or more of one."""
    low, high = component.box_xyz
    factors = np.maximum(1, np.rint(COARSE_MM / np.asarray(component.grid.spacing_mm))).astype(int)
    count = -((low - high) // factors) + 2  # with a margin on all sides
    start = low - factors
    stop = start + count * factors
    fine = component.paint(np.ones(len(component), np.uint8), start, stop)
    grid = component.grid.part(start.tolist(), stop.tolist(), (1, 1, 1))
    return bin_means(Volume(fine, grid), factors.tolist())


def split_at_plane(
    mask: RunLengthMask, x_mm: float
) -> tuple[RunLengthMask, NDArray[np.intp], NDArray[np.uint8]]:
    """Cut runs at a sagittal plane.

    Returns:
        The runs, those that cross the plane as two; the number of the run that each was; and the
        side that each lies on, `LEFT` or `RIGHT`.
    """
    first_mm, step_mm = mask.position_mm(mask.start)[:, 0], mask.grid.steps_mm[0, 0]
    starts_left, heads_right = first_mm > x_mm, step_mm < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.nan_to_num(abs((x_mm - first_mm) / step_mm), nan=np.inf)
    # voxels on the side of the first one; the plane itself is on the right
    head = np.where(starts_left, np.ceil(steps), np.floor(steps) + 1)
    head = np.where(starts_left == heads_right, head, np.inf)
    middle = mask.start + np.minimum(head, mask.length).astype(np.int64)
    start = np.stack([mask.start, middle], axis=1).ravel()
    stop = np.stack([middle, mask.stop], axis=1).ravel()
    left = np.stack([starts_left, ~starts_left], axis=1).ravel()
    full, was = stop > start, np.repeat(np.arange(len(mask)), 2)
    parts = RunLengthMask(mask.grid, mask.row[was[full]], start[full], stop[full])
    return parts, was[full], np.where(left[full], LEFT, RIGHT).astype(np.uint8)


def _profile_ml(component: RunLengthMask) -> tuple[float, Floats]:
    """Return where slices of 1 mm begin along LPS x, and their volumes; both ends are empty."""
    low_mm, high_mm = component.span_mm
    low_mm = float(np.floor(low_mm)) - 1
    counts = np.zeros(int(high_mm - low_mm) + 2)
    for x_mm in component.x_mm():
        counts += np.bincount((x_mm - low_mm).astype(np.intp), minlength=len(counts))
    return low_mm, counts * component.grid.voxel_ml
