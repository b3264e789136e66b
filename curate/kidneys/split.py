"""Left and right kidney, told apart in a mask that names no side.

Sides are decided by position in the LPS frame (mm; x grows to the patient's left), so the order and
the direction of the array axes do not matter as long as the header is right.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.kidneys.components import Components, SidedKidneys
from curate.kidneys.fragments import Sides, join_fragments
from curate.kidneys.midline import LEFT, RIGHT, UNDECIDED, Midline, find_midline
from curate.kidneys.renal_fusion import (
    KIDNEY_ML,
    Isthmus,
    find_isthmus,
    is_fused,
    split_at_plane,
)
from curate.kidneys.run_length import Floats, RunLengthMask
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
    mask = RunLengthMask.of(kidney)
    if len(mask) == 0:
        _require(decision is None, "the mask is empty")
        nothing = Volume(np.zeros(kidney.voxels.shape, np.uint8), kidney.grid)
        return KidneySplit(nothing, "none", (Finding("no_kidney", "the mask is empty"),))
    components = Components.of(mask)
    if decision is None:
        sided = _find_sides(components, _midline(components, image))
    else:
        sided = _apply_decision(decision, components, image)
    side, joined = join_fragments(sided.mask, sided.component, sided.side)
    implausible = () if decision is not None else _implausible_volumes(sided.mask, side)
    findings = tuple(sorted({*sided.findings, *joined, *implausible}))
    labels = sided.mask.paint(side, np.zeros(3, int), np.array(kidney.grid.size_xyz))
    return KidneySplit(Volume(labels, kidney.grid), sided.method, findings)


def _midline(components: Components, image: Volume | None) -> Midline:
    return find_midline(components.part(*components.kidneys), image)


def _apply_decision(
    decision: Decision, components: Components, image: Volume | None
) -> SidedKidneys:
    if isinstance(decision, float | int):
        mask, was, side = split_at_plane(components.mask, decision)
        both = len(set(side.tolist())) == 2
        _require(both, f"the plane x = {decision:g} mm leaves one side empty")
        return SidedKidneys(mask, components.of_run[was], side, "given")
    if decision in WHOLE:
        sides = np.full(len(components.x_mm), WHOLE[decision], np.uint8)
        return _sided(components, sides, "given")
    midline = _midline(components, image)
    if decision == "pair":
        several = len(components.x_mm) > 1
        _require(several, "the mask is one component; give a plane to cut it at")
        kidneys = np.argsort(components.volume_ml)[-2:]
        found = _name_pair(components, kidneys, midline, gap_mm=0.0)
        return replace(found, method="given", findings=())
    found = _find_sides(components, midline)
    decided = UNDECIDED not in found.side
    _require(decided, "the sides are undecided, so there is nothing to swap")
    swapped = np.array([0, RIGHT, LEFT], np.uint8)[found.side]
    return replace(found, side=swapped, method="given", findings=())


def _require(fits: bool, seen: str) -> None:
    if not fits:
        raise OverrideError(seen)


def _find_sides(components: Components, midline: Midline) -> SidedKidneys:
    """Give sides to the components that are kidneys; leave the others 0."""
    fused = _name_fused(components, midline)
    if fused is not None:
        return fused
    kidneys = components.kidneys
    across = _small_kidney(components, midline)
    if across is not None:
        kidneys = np.append(kidneys, across)
    if len(kidneys) > 1:
        return _name_pair(components, kidneys, midline)
    return _name_one(components, midline)


def _name_fused(components: Components, midline: Midline) -> SidedKidneys | None:
    """Cut the largest component at its isthmus, or keep it whole, if it is a fused pair."""
    largest = components.part(components.largest)
    rest_ml = components.volume_ml[components.kidneys].sum() - largest.volume_ml
    if rest_ml > largest.volume_ml / 2:
        return None
    isthmus = find_isthmus(largest, midline)
    if isthmus is not None and rest_ml < isthmus.lesser_ml:
        return _cut(components, isthmus, midline)
    if len(components.kidneys) == 1 and is_fused(largest):
        return _name_whole(components, "kidneys_fused", midline)
    return None


def _cut(components: Components, isthmus: Isthmus, midline: Midline) -> SidedKidneys:
    mask, was, side = split_at_plane(components.mask, isthmus.x_mm)
    component = components.of_run[was]
    side[component != components.largest] = 0
    place = midline.describe(isthmus.x_mm)
    reason = f"cut {place}, where its section has {isthmus.area_mm2:.0f} mm2"
    return SidedKidneys(mask, component, side, "isthmus", (Finding("kidneys_fused", reason),))


def _name_whole(
    components: Components, code: str, midline: Midline, side: int = UNDECIDED
) -> SidedKidneys:
    largest = components.largest
    width_mm = np.ptp(components.part(largest).span_mm)
    size = f"{components.volume_ml[largest]:.0f} mL, {width_mm:.0f} mm wide"
    place = midline.describe(components.x_mm[largest])
    sides = np.zeros(len(components.x_mm), np.uint8)
    sides[largest] = side
    method = "undecided" if side == UNDECIDED else "single"
    return _sided(components, sides, method, Finding(code, f"{size}, its centre {place}"))


def _sided(components: Components, sides: Sides, method: str, *findings: Finding) -> SidedKidneys:
    """Give every component its side."""
    of_run = components.of_run
    return SidedKidneys(components.mask, of_run, sides[of_run], method, findings)


def _small_kidney(components: Components, midline: Midline) -> int | None:
    """Find the largest component across the midline from all kidneys, if it may be a kidney."""
    sides = {midline.side(x) for x in components.x_mm[components.kidneys]}
    if sides not in ({LEFT}, {RIGHT}):
        return None
    across = [midline.side(x) == LEFT + RIGHT - min(sides) for x in components.x_mm]
    volume_ml = np.where(across, components.volume_ml, 0.0)
    least_ml = min(SMALL_KIDNEY_ML, SMALL_KIDNEY_SHARE * components.volume_ml.max())
    return int(np.argmax(volume_ml)) if volume_ml.max() >= least_ml else None


def _name_pair(
    components: Components,
    kidneys: NDArray[np.intp],
    midline: Midline,
    *,
    gap_mm: float = PAIR_GAP_MM,
) -> SidedKidneys:
    """Order kidneys from right to left; more than two are parted at the widest gap in x.

    Those whose centres are no more than `gap_mm` apart, such as crossed ones, stay undecided.
    """
    kidneys = kidneys[np.argsort(components.x_mm[kidneys])]
    x_mm = components.x_mm[kidneys]
    places = [midline.side(x) for x in x_mm]
    right = _count_right(x_mm, places)
    apart = x_mm[right] - x_mm[right - 1] >= gap_mm
    sides = np.zeros(len(components.x_mm), np.uint8)
    sides[kidneys[:right]] = RIGHT if apart else UNDECIDED
    sides[kidneys[right:]] = LEFT if apart else UNDECIDED
    findings = []
    described = ", ".join(midline.describe(x) for x in x_mm)
    if places[0] == places[-1] != UNDECIDED:
        findings.append(Finding("kidneys_same_side", described))
    elif not apart:
        findings.append(Finding("kidney_side_unclear", described))
    if len(kidneys) > 2:
        reason = f"{len(kidneys)} large components taken as two kidneys: {described}"
        findings.append(Finding("kidney_fragments", reason))
    return _sided(components, sides, "pair" if apart else "undecided", *findings)


def _count_right(x_mm: Floats, places: list[int]) -> int:
    """Return how many kidneys, from the right, are right ones, as far as the midline allows."""
    fewest, most = places.count(RIGHT), len(places) - places.count(LEFT)
    if 0 in (most, len(places) - fewest):  # all on one side
        fewest, most = 1, len(places) - 1
    fewest, most = max(fewest, 1), min(most, len(places) - 1)
    return fewest + int(np.argmax(np.diff(x_mm)[fewest - 1 : most]))


def _name_one(components: Components, midline: Midline) -> SidedKidneys:
    """Name the side of the only kidney, unless it lies on both sides or too near the midline."""
    kidney = components.part(components.largest)
    parts, _, side_of_part = split_at_plane(kidney, midline.x_mm)
    lesser_ml = min(parts[side_of_part == side].volume_ml for side in (LEFT, RIGHT))
    straddles = lesser_ml >= max(KIDNEY_ML, STRADDLE_SHARE * kidney.volume_ml)
    if straddles and np.ptp(kidney.span_mm) >= FUSED_WIDTH_MM:
        return _name_whole(components, "kidneys_fused", midline)
    side = midline.side(components.x_mm[components.largest])
    if straddles or side == UNDECIDED:
        return _name_whole(components, "kidney_side_unclear", midline)
    return _name_whole(components, "single_kidney", midline, side)


def _implausible_volumes(mask: RunLengthMask, side: Sides) -> list[Finding]:
    """Note a kidney that is too small or too large for one; an undecided one may be two."""
    names = {LEFT: "left", RIGHT: "right", UNDECIDED: "undecided"}
    volumes_ml = {name: mask[side == s].volume_ml for s, name in names.items() if s in side}
    low_ml, high_ml = PLAUSIBLE_ML
    odd = [f"{n} {v:.2g} mL" for n, v in volumes_ml.items() if not low_ml <= v <= high_ml]
    expected = f"expected {low_ml:.0f} to {high_ml:.0f} mL"
    return [Finding("kidney_volume_suspect", f"{', '.join(odd)}; {expected}")] if odd else []
