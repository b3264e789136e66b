"""Borders: whether the outline of a label follows an edge of the image, here or elsewhere."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from curate.suspicion.coarse import SIGMA_MM, TRUNCATE, CoarseCase, Part

STEP_MM = 6.0
REACH_MM = 36.0  # along one axis
NEAR_MM = 18.0  # along all three
FINE_MM = 9.0  # how far the best of these may still be from the place
MOST_POINTS = 1500
FEWEST_POINTS = 100
ENOUGH = 0.7  # of the points must lie in the image
DOUBTFUL = 0.9  # of the best gradient along the axes: below, all directions are searched
FAINT = 6.0  # HU/mm: the same

Offsets = NDArray[np.int64]  # [n, 3], voxels along z, y, x


@dataclass(frozen=True)
class BorderFit:
    """How well a border follows an edge.

    Attributes:
        gradient: Mean inward gradient at the border, HU per mm.
        best: The same where the border fits best.
        offset_mm: By how much the border has to be moved to get there, along LPS x, y and z.
    """

    gradient: float
    best: float
    offset_mm: tuple[float, float, float]

    @property
    def distance_mm(self) -> float:
        """How far the better place is."""
        return float(np.linalg.norm(self.offset_mm))


def border_fit(case: CoarseCase, part: Part) -> BorderFit | None:
    """Compare the edges under a label's border with those at displaced places; None if too small.

    The gradient is that along the inward normal of the label, so that an organ brighter than its
    surroundings has a positive one. All displacements along the axes are looked at up to
    `REACH_MM`; if one of them is nearly as good, or the border is faint, also those in all
    directions up to `NEAR_MM`. From the best of all the search climbs voxel by voxel.
    """
    mm = case.mm_zyx
    points, normals = _border(part, mm)
    if len(points) < FEWEST_POINTS:
        return None
    reach = np.ceil((REACH_MM + FINE_MM) / mm).astype(int)
    field = _Field.around(case, part, reach)
    points = points + reach
    along = _along_axes(mm)
    scores = field.scores(points, normals, along)
    here, best = scores[0], int(np.argmax(scores))
    if not np.isfinite(here):
        return None
    offset, value = along[best], scores[best]
    if scores[1:].max() > DOUBTFUL * here or here < FAINT:
        near = _all_around(mm)
        values = field.scores(points, normals, near)
        if values.max() > value:
            offset, value = near[int(np.argmax(values))], values.max()
        offset, value = _climb(field, points, normals, offset, value, reach - 1)
    z, y, x = (offset * mm).tolist()
    return BorderFit(float(here), float(value), (x, y, z))


@dataclass(frozen=True)
class _Field:
    """The gradient of the image around a label, NaN where there is no image.

    Attributes:
        gradient: [voxels, 3], HU per mm along z, y, x.
        strides: Between neighbours along each axis in the first dimension.
    """

    gradient: NDArray[np.float32]
    strides: NDArray[np.int64]

    @classmethod
    def around(cls, case: CoarseCase, part: Part, reach: NDArray[np.int64]) -> "_Field":
        starts = np.array([b.start for b in part.box]) - reach
        stops = np.array([b.stop for b in part.box]) + reach
        inside = [
            slice(max(0, int(a)), min(n, int(b)))
            for a, b, n in zip(starts, stops, case.hu.shape, strict=True)
        ]
        size = stops - starts
        gradient = np.full((*size, 3), np.nan, np.float32)
        hu = case.edges[tuple(inside)]
        place = [
            slice(s.start - int(a), s.stop - int(a)) for s, a in zip(inside, starts, strict=True)
        ]
        for axis, mm in enumerate(case.mm_zyx):
            if hu.shape[axis] < 3:
                gradient[(*place, axis)] = 0.0
                continue
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
            middle = list(place)
            middle[axis] = slice(place[axis].start + 1, place[axis].stop - 1)
            gradient[(*middle, axis)] = (hu[tuple(ahead)] - hu[tuple(behind)]) / (2 * mm)
        strides = np.array([size[1] * size[2], size[2], 1])
        return cls(gradient.reshape(-1, 3), strides)

    def scores(
        self, points: NDArray[np.int64], normals: NDArray[np.float32], offsets: Offsets
    ) -> NDArray[np.float64]:
        """Return the mean gradient along the normals for each offset; -inf if outside the image."""
        places = (points @ self.strides)[None, :] + (offsets @ self.strides)[:, None]
        along = np.einsum("nkc,kc->nk", self.gradient.take(places, axis=0), normals)
        known = np.isfinite(along)
        count = known.sum(axis=1)
        sums = np.where(known, along, 0.0).sum(axis=1, dtype=np.float64)
        return np.where(count >= ENOUGH * len(points), sums / np.maximum(count, 1), -np.inf)


def _border(part: Part, mm: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return at most `MOST_POINTS` voxels of a border within its box, and their inward normals."""
    padded = np.pad(part.mask, 2)
    inner = np.asarray(ndimage.binary_erosion(part.mask, border_value=1), np.bool_)
    points = np.argwhere(part.mask & ~inner)
    points = points[:: max(1, len(points) // MOST_POINTS)]
    soft = ndimage.gaussian_filter(padded.astype(np.float32), SIGMA_MM / mm, truncate=TRUNCATE)
    z, y, x = (points + 2).T
    normals = np.stack(
        [
            (soft[z + 1, y, x] - soft[z - 1, y, x]) / mm[0],
            (soft[z, y + 1, x] - soft[z, y - 1, x]) / mm[1],
            (soft[z, y, x + 1] - soft[z, y, x - 1]) / mm[2],
        ],
        axis=1,
    )
    return points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)


def _along_axes(mm: NDArray[np.float64]) -> Offsets:
    """Return no displacement, and then those along one axis."""
    offsets = {(0, 0, 0)}
    for axis, sign, distance in product(
        range(3), (-1, 1), np.arange(STEP_MM, REACH_MM + 1, STEP_MM)
    ):
        offset = [0, 0, 0]
        offset[axis] = sign * max(1, round(distance / mm[axis]))
        offsets.add((offset[0], offset[1], offset[2]))
    return np.array(sorted(offsets, key=any))


def _all_around(mm: NDArray[np.float64]) -> Offsets:
    steps = np.arange(-NEAR_MM, NEAR_MM + 1, STEP_MM)
    return np.array(list(product(*(np.unique(np.rint(steps / m).astype(int)) for m in mm))))


def _climb(
    field: _Field,
    points: NDArray[np.int64],
    normals: NDArray[np.float32],
    offset: NDArray[np.int64],
    value: float,
    most: NDArray[np.int64],
) -> tuple[NDArray[np.int64], float]:
    """Move from a place to the best of its neighbours, as long as one is better."""
    steps = np.array([s for s in product((-1, 0, 1), repeat=3) if any(s)])
    while True:
        around = offset + steps
        around = around[(np.abs(around) <= most).all(axis=1)]
        values = field.scores(points, normals, around)
        if not len(values) or values.max() <= value:
            return offset, value
        offset, value = around[int(np.argmax(values))], float(values.max())
