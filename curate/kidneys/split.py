"""Left and right kidney, told apart in a mask that names no side.

Sides are decided by position in the LPS frame (mm; x grows to the patient's left), so the order and
the direction of the array axes do not matter as long as the header is right.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.kidneys.fragments import SLAB_VOXELS, Sides, join_fragments
from curate.kidneys.fused import KIDNEY_ML, cut_at, find_neck, is_sprawling
from curate.kidneys.midline import LEFT, RIGHT, UNDECIDED, Midline, find_midline
from curate.kidneys.pieces import Pieces, Sided
from curate.kidneys.runs import Floats, Runs, runs_of
from manifests.ground.errors import OverrideError
from manifests.ground.findings import Finding
from manifests.volumes.volume import Volume

# What a person may decide: where the only kidney is, that the two largest components are the pair,
# to keep the kidneys as one group, to swap what was found, or a sagittal plane to cut at (mm, LPS).
Decision = Literal["left", "right", "pair", "merged", "swap"] | float

WHOLE = {"left": LEFT, "right": RIGHT, "merged": UNDECIDED}
SMALL_KIDNEY_ML = 2.0  # across the midline from a kidney, so is one of this volume ...
SMALL_KIDNEY_SHARE = 0.1  # ... or of this share of the first
STRADDLE_SHARE = 0.25
PAIR_GAP_MM = 30.0  # nearer centres name no side; the 206 pairs of KiTS19 are 76 mm apart or more
FUSED_WIDTH_MM = 130.0  # on both sides; with a tumour of 1 L or more, one kidney may reach 160 mm
PLAUSIBLE_ML = (KIDNEY_ML, 3000.0)


@dataclass(frozen=True)
class KidneySplit:
    """A kidney mask with sides.

    Attributes:
        labels: 1 left, 2 right, 3 kidney whose side is undecided, on the mask's grid (uint8).
        method: `pair`, `isthmus`, `single`, `undecided`, `given` or `none`.
        findings: What a reader of the case should know.
    """

    labels: Volume
    method: str
    findings: tuple[Finding, ...] = ()


def split_kidneys(
    kidney: Volume, *, image: Volume | None = None, decision: Decision | None = None
) -> KidneySplit:
    """Tell left from right in a mask of kidney with tumour.

    Two kidneys are ordered by their position relative to each other. One kidney is named after its
    side of the body's midline. A fused one is cut at its isthmus where it has one, or kept whole as
    undecided. Fragments join the nearest kidney. No voxel is lost or invented.

    Args:
        kidney: Nonzero is kidney or tumour; any grid.
        image: The CT (HU), any grid in the same frame; it shows the body's midline. Without it the
            middle of the mask's grid stands in for it.
        decision: A person's, which goes before what is found here.

    Raises:
        OverrideError: The decision does not fit this mask.
    """
    runs = runs_of(kidney)
    if len(runs) == 0:
        _fits(decision is None, "the mask is empty")
        nothing = _painted(runs, np.zeros(0, np.uint8), kidney)
        return KidneySplit(nothing, "none", (Finding("no_kidney", "the mask is empty"),))
    pieces = Pieces.of(runs)
    if decision is None:
        sided = _find_sides(pieces, _midline(pieces, image))
    else:
        sided = _decide(decision, pieces, image)
    side, joined = join_fragments(sided.runs, sided.piece, sided.side)
    odd = () if decision is not None else _odd_volumes(sided.runs, side)
    findings = tuple(sorted({*sided.findings, *joined, *odd}))
    return KidneySplit(_painted(sided.runs, side, kidney), sided.method, findings)


def _midline(pieces: Pieces, image: Volume | None) -> Midline:
    low, high = pieces.runs[np.isin(pieces.piece, pieces.mains)].box_xyz
    grid = pieces.runs.grid
    return find_midline(grid, grid.part(low.tolist(), high.tolist(), (1, 1, 1)), image)


def _decide(decision: Decision, pieces: Pieces, image: Volume | None) -> Sided:
    """Do what a person decided."""
    if isinstance(decision, float | int):
        runs, was, side = cut_at(pieces.runs, decision)
        _fits(len(set(side.tolist())) == 2, f"the plane x = {decision:g} mm leaves one side empty")
        return Sided(runs, pieces.piece[was], side, "given")
    if decision in WHOLE:
        sides = np.full(len(pieces.x_mm), WHOLE[decision], np.uint8)
        return Sided.by_piece(pieces, sides, "given")
    if decision == "pair":
        _fits(len(pieces.x_mm) > 1, "the mask is one component; give a plane to cut it at")
        mains = np.argsort(pieces.volume_ml)[-2:]
        found = _name_pair(pieces, mains, _midline(pieces, image), gap_mm=0.0)
        return Sided(found.runs, found.piece, found.side, "given")
    found = _find_sides(pieces, _midline(pieces, image))
    _fits(UNDECIDED not in found.side, "the sides are undecided, so there is nothing to swap")
    swapped = np.array([0, RIGHT, LEFT], np.uint8)[found.side]
    return Sided(found.runs, found.piece, swapped, "given")


def _fits(fits: bool, seen: str) -> None:
    if not fits:
        raise OverrideError(seen)


def _find_sides(pieces: Pieces, midline: Midline) -> Sided:
    """Give sides to the components that are kidneys; leave the others 0."""
    fused = _name_fused(pieces, midline)
    if fused is not None:
        return fused
    mains = pieces.mains
    across = _small_kidney(pieces, mains, midline)
    if across is not None:
        mains = np.append(mains, across)
    if len(mains) > 1:
        return _name_pair(pieces, mains, midline)
    return _name_one(pieces, midline)


def _name_fused(pieces: Pieces, midline: Midline) -> Sided | None:
    """Cut the largest component at its isthmus, or keep it whole, if it is a fused pair."""
    first = pieces.component(pieces.first)
    rest_ml = pieces.volume_ml[pieces.mains].sum() - pieces.volume_ml[pieces.first]
    if rest_ml > first.volume_ml / 2:
        return None
    neck = find_neck(first, midline)
    if neck is not None and rest_ml < neck.lesser_ml:
        return _cut(pieces, neck.x_mm, neck.area_mm2, midline)
    if len(pieces.mains) == 1 and is_sprawling(first):
        return _name_whole(pieces, "kidneys_fused", midline)
    return None


def _cut(pieces: Pieces, x_mm: float, area_mm2: float, midline: Midline) -> Sided:
    runs, was, side = cut_at(pieces.runs, x_mm)
    piece = pieces.piece[was]
    side[piece != pieces.first] = 0
    reason = f"cut {midline.place(x_mm)}, where its section has {area_mm2:.0f} mm2"
    return Sided(runs, piece, side, "isthmus", (Finding("kidneys_fused", reason),))


def _name_whole(pieces: Pieces, code: str, midline: Midline, side: int = UNDECIDED) -> Sided:
    first = pieces.first
    width_mm = np.ptp(pieces.component(first).span_mm)
    size = f"{pieces.volume_ml[first]:.0f} mL, {width_mm:.0f} mm wide"
    finding = Finding(code, f"{size}, its centre {midline.place(pieces.x_mm[first])}")
    sides = np.zeros(len(pieces.x_mm), np.uint8)
    sides[first] = side
    method = "undecided" if side == UNDECIDED else "single"
    return Sided.by_piece(pieces, sides, method, finding)


def _small_kidney(pieces: Pieces, mains: NDArray[np.intp], midline: Midline) -> int | None:
    """Find the largest component across the midline from all kidneys, if it may be a kidney."""
    sides = {midline.side(x) for x in pieces.x_mm[mains]}
    if sides not in ({LEFT}, {RIGHT}):
        return None
    there = [midline.side(x) == LEFT + RIGHT - min(sides) for x in pieces.x_mm]
    volume_ml = np.where(there, pieces.volume_ml, 0.0)
    floor_ml = min(SMALL_KIDNEY_ML, SMALL_KIDNEY_SHARE * pieces.volume_ml[pieces.first])
    return int(np.argmax(volume_ml)) if volume_ml.max() >= floor_ml else None


def _name_pair(
    pieces: Pieces, mains: NDArray[np.intp], midline: Midline, *, gap_mm: float = PAIR_GAP_MM
) -> Sided:
    """Order kidneys from right to left; more than two are parted at the widest gap in x.

    Those whose centres are no more than `gap_mm` apart, such as crossed ones, stay undecided.
    """
    mains = mains[np.argsort(pieces.x_mm[mains])]
    x_mm = pieces.x_mm[mains]
    places = [midline.side(x) for x in x_mm]
    parting = _parting(x_mm, places)
    sides = np.zeros(len(pieces.x_mm), np.uint8)
    apart = x_mm[parting] - x_mm[parting - 1] >= gap_mm
    sides[mains[:parting]], sides[mains[parting:]] = (
        (RIGHT, LEFT) if apart else (UNDECIDED, UNDECIDED)
    )
    findings = []
    described = ", ".join(midline.place(x) for x in x_mm)
    if places[0] == places[-1] != UNDECIDED:
        findings.append(Finding("kidneys_same_side", described))
    elif not apart:
        findings.append(Finding("kidney_side_unclear", described))
    if len(mains) > 2:
        reason = f"{len(mains)} large components taken as two kidneys: {described}"
        findings.append(Finding("kidney_fragments", reason))
    return Sided.by_piece(pieces, sides, "pair" if apart else "undecided", *findings)


def _parting(x_mm: Floats, places: list[int]) -> int:
    """Number of components that are right, among those that the midline leaves open."""
    fewest, most = places.count(RIGHT), len(places) - places.count(LEFT)
    if 0 in (most, len(places) - fewest):  # all on one side
        fewest, most = 1, len(places) - 1
    fewest, most = max(fewest, 1), min(most, len(places) - 1)
    return fewest + int(np.argmax(np.diff(x_mm)[fewest - 1 : most]))


def _name_one(pieces: Pieces, midline: Midline) -> Sided:
    """Name the side of the only kidney, unless it lies on both sides or too near the midline."""
    first = pieces.component(pieces.first)
    volume_ml, x_mm = first.volume_ml, pieces.x_mm[pieces.first]
    left_voxels = sum(int(np.count_nonzero(x > midline.x_mm)) for x in first.x_mm())
    left_ml = left_voxels * first.grid.voxel_ml
    lesser_ml = min(left_ml, volume_ml - left_ml)
    straddles = lesser_ml >= max(KIDNEY_ML, STRADDLE_SHARE * volume_ml)
    if straddles and np.ptp(first.span_mm) >= FUSED_WIDTH_MM:
        return _name_whole(pieces, "kidneys_fused", midline)
    side = midline.side(x_mm)
    if straddles or side == UNDECIDED:
        return _name_whole(pieces, "kidney_side_unclear", midline)
    return _name_whole(pieces, "single_kidney", midline, side)


def _odd_volumes(runs: Runs, side: Sides) -> list[Finding]:
    """Note a kidney that is too small or too large for one; an undecided one may be two."""
    names = {LEFT: "left", RIGHT: "right", UNDECIDED: "undecided"}
    volumes_ml = {name: runs[side == s].volume_ml for s, name in names.items() if s in side}
    low_ml, high_ml = PLAUSIBLE_ML
    odd = [f"{n} {v:.2g} mL" for n, v in volumes_ml.items() if not low_ml <= v <= high_ml]
    expected = f"expected {low_ml:.0f} to {high_ml:.0f} mL"
    return [Finding("kidney_volume_suspect", f"{', '.join(odd)}; {expected}")] if odd else []


def _painted(runs: Runs, side: Sides, kidney: Volume) -> Volume:
    """Write the sides onto the mask's grid, slab by slab to spare memory."""
    whole = np.zeros(kidney.voxels.shape, np.uint8)
    if len(runs) == 0:
        return Volume(whole, kidney.grid)
    low, high = runs.box_xyz
    depth = max(1, SLAB_VOXELS // int(np.prod((high - low)[:2])))
    for z in range(low[2], high[2], depth):
        first, last = np.array([*low[:2], z]), np.array([*high[:2], min(z + depth, high[2])])
        box = tuple(slice(*map(int, ends)) for ends in zip(first[::-1], last[::-1], strict=True))
        whole[box] = runs.paint(side, first, last)
    return Volume(whole, kidney.grid)
