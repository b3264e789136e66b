"""Outlines: labels that end too abruptly, or that are scattered."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage
from skimage.measure import label

from curate.suspicion.coarse import CoarseCase, Part

FEWEST_SLICES = 12  # of a label whose ends are judged
INWARD = 2  # slices: a rounded end has less than half of the area of the slice so far in
MOST_SHARE = 0.5  # of the largest slice
MOST_STEP = 0.65  # of the slice further in,
LEAST_SHARE = 0.12  # unless the end is a thin tip


@dataclass(frozen=True)
class Ends:
    """How a label ends towards head and foot, and at gaps; the worst of the ends that it has.

    An end that the scan cuts off does not count.

    Attributes:
        share: Of the area of the largest slice that the last one has; None if no end is judged.
        step: The same of the slice that is `INWARD` slices further in.
        missing: Slices without the label between slices with it.
        cut_by_scan: Whether it reaches the first or the last slice of the scan.
    """

    share: float | None
    step: float
    missing: int
    cut_by_scan: bool

    @property
    def abruptness(self) -> float:
        """1 and more for an end that no rounded organ has."""
        return 0.0 if self.share is None else _abruptness(self.share, self.step)


@dataclass(frozen=True)
class Piece:
    """The largest piece of a label beside the main one.

    Attributes:
        distance_mm: From the main piece.
    """

    volume_ml: float
    distance_mm: float
    middle_mm: tuple[float, float, float]


def label_ends(case: CoarseCase, part: Part, *, judged: bool = True) -> Ends:
    """Look at the slices at which a label ends, also at a gap in the middle, if that is asked."""
    areas = np.asarray(part.mask.sum(axis=(1, 2)), np.float64)
    at_foot, at_head = part.box[0].start == 0, part.box[0].stop == len(case.hu)
    filled = np.flatnonzero(areas)
    gaps = [(int(a), int(b)) for a, b in pairwise(filled) if b - a > 1]
    # the last slice of a stretch, and the way to its middle
    ends = [] if at_foot else [(0, 1)]
    ends += [] if at_head else [(len(areas) - 1, -1)]
    ends += [end for a, b in gaps for end in ((a, -1), (b, 1))]
    ends = ends if judged and len(filled) >= FEWEST_SLICES else []
    shares = [_shares(areas, at, inward) for at, inward in ends]
    share, step = max(shares, key=lambda s: _abruptness(*s), default=(None, 0.0))
    return Ends(share, step, sum(b - a - 1 for a, b in gaps), at_foot or at_head)


def _shares(areas: np.ndarray, at: int, inward: int) -> tuple[float, float]:
    further = at + INWARD * inward
    within = areas[further] if 0 <= further < len(areas) else 0.0
    step = float(areas[at] / within) if within else 0.0
    return float(areas[at] / areas.max()), step


def _abruptness(share: float, step: float) -> float:
    return max(share / MOST_SHARE, step / MOST_STEP if share >= LEAST_SHARE else 0.0)


def largest_stray_piece(case: CoarseCase, part: Part) -> Piece | None:
    """Find the largest piece apart from the main one; pieces at the scan's edge do not count."""
    # not cc3d 4.1.1, which raises on bool arrays that are one voxel thick along two axes
    pieces = np.asarray(label(part.mask, connectivity=3))
    if pieces.max() < 2:
        return None
    voxels = np.bincount(pieces.ravel())
    voxels[0] = 0
    main = int(voxels.argmax())
    voxels[main] = 0
    for number in _at_edge(pieces, part, case.hu.shape):
        voxels[number] = 0
    stray = int(voxels.argmax())
    if not voxels[stray]:
        return None
    distance_mm = np.asarray(
        ndimage.distance_transform_edt(pieces != main, sampling=case.mm_zyx.tolist())
    )
    where = np.argwhere(pieces == stray)
    middle = where.mean(axis=0) + [b.start for b in part.box]
    x, y, z = case.grid.position_mm(middle[::-1]).tolist()
    nearest_mm = float(distance_mm[tuple(where.T)].min())
    return Piece(float(voxels[stray]) * case.grid.voxel_ml, nearest_mm, (x, y, z))


def _at_edge(pieces: np.ndarray, part: Part, shape: tuple[int, ...]) -> set[int]:
    found: set[int] = set()
    for axis, (box, size) in enumerate(zip(part.box, shape, strict=True)):
        layers = np.moveaxis(pieces, axis, 0)
        found |= set(np.unique(layers[0]).tolist()) if box.start == 0 else set()
        found |= set(np.unique(layers[-1]).tolist()) if box.stop == size else set()
    return found
