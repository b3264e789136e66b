"""Left and right kidney, told apart in a mask that names no side.

Sides are decided by position in the LPS frame (mm; x grows to the patient's left), so the order and
the direction of the array axes do not matter as long as the header is right.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from curate.midline import LEFT, RIGHT, UNDECIDED, Midline, find_midline
from curate.voxels import positions_mm_of, x_mm_of
from manifests.findings import Finding
from manifests.grid import Grid

SIDES = {"left": LEFT, "right": RIGHT, "undecided": UNDECIDED}

KIDNEY_ML = 20.0  # a component of this volume is a kidney, or half of a fused one
SMALL_KIDNEY_ML = 2.0  # on the other side of the body, so is one of this volume ...
SMALL_KIDNEY_SHARE = 0.1  # ... or of this share of the first
NECK_WINDOW_MM = 50.0
NECK_RATIO = 0.5  # 47 kidneys have 1.8 to 2.5 at their best cut, a horseshoe kidney has 0.16
STRADDLE_SHARE = 0.25
FUSED_WIDTH_MM = 130.0  # one kidney with a tumour of 868 mL is 112 mm wide

Labels = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class KidneySplit:
    """A kidney mask with sides.

    Attributes:
        labels: 1 left, 2 right, 3 kidney whose side is undecided, on the mask's grid (uint8).
        method: `pair`, `isthmus`, `single`, `undecided`, `given` or `none`.
        findings: What a reader of the case should know.
    """

    labels: sitk.Image
    method: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Pieces:
    """The connected components of a mask.

    Attributes:
        array: Component ids from 1, cropped to the mask's bounding box (z, y, x).
        grid: The grid of the crop.
        volume_ml: Volume of each component; entry 0 is background.
        x_mm: Centroid of each component along LPS x; entry 0 is background.
        boxes: Bounding box of each component (z, y, x).
    """

    array: NDArray[np.integer]
    grid: Grid
    volume_ml: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    boxes: Sequence[Box]

    def around(self, ids: Iterable[int]) -> tuple[Box, Grid]:
        """Find the box around some components, and its grid."""
        chosen = [self.boxes[i] for i in ids]
        start = [min(box[axis].start for box in chosen) for axis in range(3)]
        stop = [max(box[axis].stop for box in chosen) for axis in range(3)]
        z, y, x = (slice(*ends) for ends in zip(start, stop, strict=True))
        return (z, y, x), self.grid.part(start[::-1], stop[::-1], (1, 1, 1))


@dataclass(frozen=True)
class Sided:
    """Main kidneys with sides, before the fragments join them."""

    labels: Labels
    mains: Sequence[int]
    method: str
    findings: tuple[Finding, ...] = ()


def split_kidneys(
    kidney: sitk.Image,
    *,
    image: sitk.Image | None = None,
    side: Literal["left", "right", "undecided"] | None = None,
) -> KidneySplit:
    """Tell left from right in a mask of kidney with tumour.

    Two kidneys are ordered by their position relative to each other. One kidney is named after its
    side of the body's midline. A fused one is cut at its isthmus where it has one, or kept whole as
    undecided. Fragments join the nearest kidney. No voxel is lost or invented.

    Args:
        kidney: Nonzero is kidney or tumour; any grid.
        image: The CT (HU), any grid in the same frame; it shows the body's midline. Without it the
            middle of the mask's grid stands in for it.
        side: A person's decision for the whole mask.

    Raises:
        GeometryError: The mask's or the image's header makes no sense.
    """
    grid = Grid.of(kidney)
    box = _bounding_box(kidney)
    if box is None:
        labels = grid.image(np.zeros(grid.size_xyz[::-1], np.uint8))
        reason = "the mask is empty"
        return KidneySplit(labels, "none", (Finding("no_kidney", reason),))
    mask = sitk.GetArrayViewFromImage(kidney)[box] != 0
    if side is not None:
        return KidneySplit(_uncrop(mask * np.uint8(SIDES[side]), box, kidney), "given")
    start, stop = zip(*((s.start, s.stop) for s in reversed(box)), strict=True)
    pieces = _pieces(mask, grid.part(start, stop, (1, 1, 1)))
    midline = find_midline(grid, pieces.grid, image)
    sided = _name_sides(pieces, midline)
    labels, joined = _join_fragments(sided, pieces)
    findings = tuple(sorted({*sided.findings, *joined}))
    return KidneySplit(_uncrop(labels, box, kidney), sided.method, findings)


def _name_sides(pieces: Pieces, midline: Midline) -> Sided:
    """Give sides to the components that are kidneys; leave the others 0."""
    mains = np.flatnonzero(pieces.volume_ml >= KIDNEY_ML)
    if len(mains) >= 2:
        return _name_pair(pieces, mains, midline)
    first = int(np.argmax(pieces.volume_ml))
    cut = _cut_fused(pieces, first, midline)
    if cut is not None:
        return cut
    second = _small_kidney(pieces, first, midline)
    if second is not None:
        return _name_pair(pieces, np.array([first, second]), midline)
    return _name_one(pieces, first, midline)


def _small_kidney(pieces: Pieces, first: int, midline: Midline) -> int | None:
    """Find the largest component across the midline, if it is large enough for a kidney."""
    across = LEFT + RIGHT - midline.side(pieces.x_mm[first])
    there = [midline.side(x) == across for x in pieces.x_mm]
    volume_ml = np.where(there, pieces.volume_ml, 0.0)
    floor_ml = min(SMALL_KIDNEY_ML, SMALL_KIDNEY_SHARE * pieces.volume_ml[first])
    return int(np.argmax(volume_ml)) if volume_ml.max() >= floor_ml else None


def _name_pair(pieces: Pieces, mains: NDArray[np.intp], midline: Midline) -> Sided:
    """Order kidneys from right to left; more than two are parted at the widest gap in x."""
    mains = mains[np.argsort(pieces.x_mm[mains])]
    x_mm = pieces.x_mm[mains]
    parting = 1 + int(np.argmax(np.diff(x_mm)))
    sides = np.zeros(len(pieces.x_mm), np.uint8)
    sides[mains[:parting]], sides[mains[parting:]] = RIGHT, LEFT
    findings = []
    places = ", ".join(midline.place(x) for x in x_mm)
    if midline.side(x_mm[0]) == midline.side(x_mm[-1]) != UNDECIDED:
        findings.append(Finding("kidneys_same_side", places))
    if len(mains) > 2:
        reason = f"{len(mains)} components of {KIDNEY_ML:.0f} mL or more taken as two: {places}"
        findings.append(Finding("kidney_fragments", reason))
    return Sided(sides[pieces.array], mains.tolist(), "pair", tuple(findings))


def _cut_fused(pieces: Pieces, main: int, midline: Midline) -> Sided | None:
    """Cut a component in two if it is a fused pair with an isthmus."""
    box, grid = pieces.around([main])
    mask = pieces.array[box] == main
    x_mm = x_mm_of(mask, grid)
    neck = _neck(x_mm, grid.voxel_ml, midline)
    if neck is None:
        return None
    cut_mm, area_mm2 = neck
    labels = np.zeros(pieces.array.shape, np.uint8)
    labels[box][mask] = np.where(x_mm > cut_mm, LEFT, RIGHT)
    reason = f"cut {midline.place(cut_mm)}, where its section has {area_mm2:.0f} mm2"
    return Sided(labels, [main], "isthmus", (Finding("kidneys_fused", reason),))


def _name_one(pieces: Pieces, main: int, midline: Midline) -> Sided:
    """Name the side of the only kidney, unless it lies on both sides or too near the midline."""
    box, grid = pieces.around([main])
    mask = pieces.array[box] == main
    x_mm = x_mm_of(mask, grid)
    centre_mm, width_mm, volume_ml = float(np.mean(x_mm)), np.ptp(x_mm), pieces.volume_ml[main]
    left_ml = volume_ml * float(np.mean(x_mm > midline.x_mm))
    lesser_ml = min(left_ml, volume_ml - left_ml)
    straddles = lesser_ml >= max(KIDNEY_ML, STRADDLE_SHARE * volume_ml)
    side = UNDECIDED if straddles else midline.side(centre_mm)
    code = "single_kidney" if side != UNDECIDED else "kidney_side_unclear"
    code = "kidneys_fused" if straddles and width_mm >= FUSED_WIDTH_MM else code
    place = midline.place(centre_mm)
    reason = f"{volume_ml:.0f} mL, {width_mm:.0f} mm wide, its centre {place}"
    labels = np.zeros(pieces.array.shape, np.uint8)
    labels[box][mask] = side
    method = "undecided" if side == UNDECIDED else "single"
    return Sided(labels, [main], method, (Finding(code, reason),))


def _neck(
    x_mm: NDArray[np.float64], voxel_ml: float, midline: Midline
) -> tuple[float, float] | None:
    """Find the sagittal plane where a fused pair is narrowest: its x (mm) and area (mm^2).

    A cut is judged by its area over the lesser part's volume to the power 2/3, which has no unit:
    1.9 where a ball is halved, near 0 at a thread between two balls. Both parts have the volume of
    a kidney, their centres are on opposite sides of the midline, and the cut is near it.
    """
    edges = np.arange(np.floor(x_mm.min()) - 1, x_mm.max() + 2)  # 1 mm apart
    slice_ml = np.histogram(x_mm, edges)[0] * voxel_ml
    area_mm2 = gaussian_filter1d(1000 * slice_ml, 2.0)  # columns would beat with the bins
    cuts_mm, area_mm2 = edges[1:-1], (area_mm2[1:] + area_mm2[:-1]) / 2
    offset_mm = (edges[1:] + edges[:-1]) / 2 - midline.x_mm
    right_ml, left_ml = np.cumsum(slice_ml)[:-1], np.cumsum(slice_ml[::-1])[-2::-1]
    moments = slice_ml * offset_mm
    opposite = (np.cumsum(moments)[:-1] < 0) & (np.cumsum(moments[::-1])[-2::-1] > 0)
    lesser_ml = np.minimum(right_ml, left_ml)
    near = abs(cuts_mm - midline.x_mm) <= NECK_WINDOW_MM
    allowed = opposite & near & (lesser_ml >= KIDNEY_ML)
    ratio = np.where(allowed, area_mm2 / np.maximum(1000 * lesser_ml, 1) ** (2 / 3), np.inf)
    best = int(np.argmin(ratio))
    return (float(cuts_mm[best]), float(area_mm2[best])) if ratio[best] <= NECK_RATIO else None


def _join_fragments(sided: Sided, pieces: Pieces) -> tuple[Labels, list[Finding]]:
    """Give each other component the label of the named voxel nearest to any of its voxels."""
    fragments = sorted(set(range(1, len(pieces.boxes))) - set(sided.mains))
    if not fragments:
        return sided.labels, []
    labels = sided.labels.copy()
    box, grid = pieces.around(sided.mains)
    shell = _shell(labels[box] > 0)
    named, tree = labels[box][shell], KDTree(positions_mm_of(shell, grid))
    farthest_mm = 0.0
    for fragment in fragments:
        box, grid = pieces.around([fragment])
        mask = pieces.array[box] == fragment
        gap_mm, nearest = map(np.asarray, tree.query(positions_mm_of(mask, grid)))
        labels[box][mask] = named[nearest[np.argmin(gap_mm)]]
        farthest_mm = max(farthest_mm, float(gap_mm.min()))
    total_ml = pieces.volume_ml[fragments].sum()
    reason = f"{len(fragments)} of {total_ml:.2g} mL in all, the farthest {farthest_mm:.1f} mm away"
    return labels, [Finding("kidney_fragments", reason)]


def _pieces(mask: Bool, grid: Grid) -> Pieces:
    array = cc3d.connected_components(mask, connectivity=26, binary_image=True)
    statistics = cc3d.statistics(array)
    volume_ml = np.asarray(statistics["voxel_counts"], np.float64) * grid.voxel_ml
    volume_ml[0] = 0.0
    x_mm = grid.position_mm(np.nan_to_num(statistics["centroids"])[:, ::-1])[:, 0]
    return Pieces(array, grid, volume_ml, x_mm, statistics["bounding_boxes"])


def _bounding_box(kidney: sitk.Image) -> Box | None:
    mask = sitk.GetArrayViewFromImage(kidney) != 0
    box: list[slice] = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return box[0], box[1], box[2]


def _shell(mask: Bool) -> Bool:
    """Keep the voxels of a mask that touch its outside by a face."""
    inner = np.pad(mask, 1)
    for axis in range(3):
        inner = inner & np.roll(np.pad(mask, 1), 1, axis) & np.roll(np.pad(mask, 1), -1, axis)
    return mask & ~inner[1:-1, 1:-1, 1:-1]


def _uncrop(labels: Labels, box: Box, kidney: sitk.Image) -> sitk.Image:
    """Put a crop back into the mask's grid, with zeros around it."""
    whole = sitk.Image(kidney.GetSize(), sitk.sitkUInt8)
    whole.CopyInformation(kidney)
    whole[tuple(reversed(box))] = sitk.GetImageFromArray(labels)  # in place, without a copy
    return whole
