"""Judgement: what the numbers of a case's labels come to, as columns and findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.suspicion.borders import BorderFit, border_fit
from curate.suspicion.coarse import CoarseCase, Part
from curate.suspicion.organs import JudgedClass, judged_classes, organs
from curate.suspicion.outlines import Ends, Piece, label_ends, largest_stray_piece
from curate.suspicion.places import GAIN, Located, Place, exchanges, middle_mm, place_in_body
from manifests.anatomy.anatomy import anatomy
from manifests.anatomy.organ_positions import ENOUGH_ML, known_structures
from manifests.anatomy.torso import Torso
from manifests.classes.label_space import LabelSpace
from manifests.ground.findings import Finding
from manifests.volumes.volume import Volume

LEAST_GRADIENT = 2.5  # HU/mm of a border that follows any edge
MOST_AIR = 0.15  # of an organ without gas
NEAREST_MM = 8.0  # that a better place must be away
LEAST_STRAY_ML = 0.5
LEAST_STRAY_VOXELS = 4  # of the coarse grid
MOST_SUSPICION = 10.0
OF_LABELS = ("label_misplaced", "label_cut", "label_fragments", "labels_exchanged")
FAT_HU, AIR_HU = -30, -300


@dataclass(frozen=True)
class LabelNumbers:
    """What was measured of one class's label; None where it cannot be measured.

    Attributes:
        suspicion: 1 and more where a finding says what is wrong, 0 if nothing is.
        coarse_voxels_ml: What `LEAST_STRAY_VOXELS` of the coarse grid hold.
        place: Of its middle, in the box around the body.
        fat: Share of its voxels below `FAT_HU`; air is part of it.
    """

    judged: JudgedClass
    volume_ml: float
    coarse_voxels_ml: float
    hu_mean: float
    hu_std: float
    fat: float
    air: float
    middle_mm: Place
    place: Place | None
    border: BorderFit | None
    ends: Ends
    stray: Piece | None
    suspicion: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """The numbers of each judged class that has a label, by class id, and what they came to."""

    numbers: Mapping[int, LabelNumbers]
    findings: tuple[Finding, ...]

    def columns(self, classes: int) -> dict[str, Any]:
        """Return the columns of the manifest, each with one entry for each class id."""
        each = [self.numbers.get(n) for n in range(classes)]
        borders = [n.border if n else None for n in each]
        return {
            "suspicion": tuple(n and n.suspicion for n in each),
            "class_hu_mean": tuple(n and n.hu_mean for n in each),
            "class_hu_std": tuple(n and n.hu_std for n in each),
            "border_gradient": tuple(b and b.gradient for b in borders),
            "border_offset_mm": tuple(b and b.offset_mm for b in borders),
            "place_in_body": tuple(n and n.place for n in each),
            "end_share": tuple(n and n.ends.share for n in each),
            "cut_by_scan": tuple(n and n.ends.cut_by_scan for n in each),
        }


def judge_labels(
    image: Volume,
    ids: np.ndarray,
    *,
    space: LabelSpace,
    merged: Sequence[int],
    torso: Torso | None,
) -> Judgement:
    """Judge every label of one organ by the image under it and by its outline.

    Args:
        image: The harmonised image (HU).
        ids: Class ids (uint8) on its grid.
        space: Names the classes.
        merged: What the annotation tells apart; other classes are not judged.
        torso: Of the same image, or of the one it was made of.
    """
    case = CoarseCase.of(image, ids)
    measured = {
        judged.class_id: _measure(case, judged, part, torso)
        for judged in judged_classes(space, merged)
        if (part := case.part(judged.parts)) is not None
    }
    found: list[Finding] = []
    for n, numbers in measured.items():
        findings, suspicion = _findings_of(numbers, space.names[n])
        measured[n] = replace(numbers, suspicion=min(suspicion, MOST_SUSPICION))
        found += findings
    exchanged = dict(_exchanged(measured, torso, space))
    for n, (finding, suspicion) in exchanged.items():
        measured[n] = replace(measured[n], suspicion=max(measured[n].suspicion, suspicion))
        found.append(finding)
    return Judgement(measured, tuple(dict.fromkeys(found)))


def _measure(
    case: CoarseCase, judged: JudgedClass, part: Part, torso: Torso | None
) -> LabelNumbers:
    hu = case.hu[part.box][part.mask]
    middle = middle_mm(case, part)
    facts = organs()
    known = not case.borders_on_ignored(part)
    edged, whole = (known and judged.organ in group for group in (facts.edged, facts.apart_mm))
    return LabelNumbers(
        judged,
        volume_ml=len(hu) * case.grid.voxel_ml,
        coarse_voxels_ml=LEAST_STRAY_VOXELS * case.grid.voxel_ml,
        hu_mean=float(hu.mean()),
        hu_std=float(hu.std()),
        fat=float(np.mean(hu < FAT_HU)),
        air=float(np.mean(hu < AIR_HU)),
        middle_mm=middle,
        place=None if torso is None else place_in_body(torso, middle),
        border=border_fit(case, part) if edged else None,
        ends=label_ends(case, part, judged=known),
        stray=largest_stray_piece(case, part) if whole else None,
    )


def _findings_of(numbers: LabelNumbers, name: str) -> tuple[list[Finding], float]:
    """Return the findings of one label, and its suspicion."""
    facts, organ = organs(), numbers.judged.organ
    found, suspicions = [], [_misfit(numbers)]
    if numbers.border is not None and suspicions[0] >= 1:
        found.append(Finding("label_misplaced", _misplaced(numbers, numbers.border, name)))
    if organ in facts.rounded:
        suspicions.append(numbers.ends.abruptness)
        if suspicions[-1] >= 1:
            found.append(Finding("label_cut", _cut(numbers.ends, name)))
    stray = numbers.stray
    if stray is not None and stray.distance_mm >= facts.apart_mm[organ]:
        suspicions.append(stray.volume_ml / max(LEAST_STRAY_ML, numbers.coarse_voxels_ml))
        if suspicions[-1] >= 1:
            found.append(Finding("label_fragments", _fragments(stray, name)))
    return found, max(suspicions)


def _misfit(numbers: LabelNumbers) -> float:
    """Return 1 and more for a border that fits better elsewhere or follows no edge, or for air."""
    border = numbers.border
    if border is None:
        return 0.0
    gradient = max(border.gradient, 0.1)
    least = _share(numbers) * border.best if border.distance_mm >= NEAREST_MM else 0.0
    return max(LEAST_GRADIENT / gradient, least / gradient, numbers.air / MOST_AIR)


def _share(numbers: LabelNumbers) -> float:
    return organs().edged[numbers.judged.organ]


def _misplaced(numbers: LabelNumbers, border: BorderFit, name: str) -> str:
    inside = (
        f"{numbers.fat - numbers.air:.0%} of it is on fat and {numbers.air:.0%} on air; "
        f"{numbers.hu_mean:.0f} ± {numbers.hu_std:.0f} HU"
    )
    x, y, z = border.offset_mm
    if _share(numbers) * border.best > max(border.gradient, LEAST_GRADIENT):
        return (
            f"{name}: the edges under its border have {border.gradient:.1f} HU/mm, and "
            f"{border.best:.1f} if it is moved by {border.distance_mm:.0f} mm (x {x:+.0f}, "
            f"y {y:+.0f}, z {z:+.0f}; LPS); {inside}"
        )
    if border.gradient > LEAST_GRADIENT:
        return f"{name}: {inside}, expected at most {MOST_AIR:.0%} on air"
    return (
        f"{name}: the edges under its border have {border.gradient:.1f} HU/mm, expected at least "
        f"{LEAST_GRADIENT}, and not more than {border.best:.1f} anywhere near; {inside}"
    )


def _cut(ends: Ends, name: str) -> str:
    gap = f"; {ends.missing} slices between labelled ones have no label" if ends.missing else ""
    return (
        f"{name}: a slice at its end has {ends.share:.0%} of the area of its largest slice, and "
        f"{ends.step:.0%} of that two slices further in{gap}"
    )


def _fragments(stray: Piece, name: str) -> str:
    x, y, z = stray.middle_mm
    return (
        f"{name}: {stray.volume_ml:.1f} mL lie {stray.distance_mm:.0f} mm from the rest, at x "
        f"{x:.0f}, y {y:.0f}, z {z:.0f} mm (LPS)"
    )


def _exchanged(
    measured: Mapping[int, LabelNumbers], torso: Torso | None, space: LabelSpace
) -> Iterator[tuple[int, tuple[Finding, float]]]:
    """Yield, by class id, labels that lie in each other's place, each on an edge of the image."""
    fitting = {
        numbers.judged.organ: n
        for n, numbers in measured.items()
        if numbers.judged.organ in organs().volume_ml
        and _shows_its_place(numbers)
        and _misfit(numbers) < 1
    }
    located = {
        organ: Located(m.middle_mm, m.volume_ml, m.ends.cut_by_scan)
        for organ, m in ((o, measured[n]) for o, n in fitting.items())
    }
    for e in exchanges(located, torso, known_structures(space.structures)):
        first, second = fitting[e.first], fitting[e.second]
        reason = (
            f"{space.names[first]} and {space.names[second]}: each lies in the other's place; "
            f"their order among the organs gains {e.gain:.0f} by an exchange: {e.seen}"
        )
        for n in (first, second):
            yield n, (Finding("labels_exchanged", reason), e.gain / GAIN)


def _shows_its_place(numbers: LabelNumbers) -> bool:
    """Return whether enough of an organ is in the scan."""
    enough_ml = anatomy().enough_ml.get(numbers.judged.organ, ENOUGH_ML)
    return numbers.volume_ml >= enough_ml or not numbers.ends.cut_by_scan
