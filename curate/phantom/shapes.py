"""Analytic solids: implicit functions in LPS millimetres that any voxel grid can sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

Field: TypeAlias = NDArray[np.float32]
Points: TypeAlias = tuple[Field, Field, Field]  # x, y, z of every voxel: arrays [z, y, x], mm
Vector: TypeAlias = tuple[float, float, float]  # x, y, z
Matrix: TypeAlias = tuple[Vector, Vector, Vector]


def as_field(values: NDArray[np.floating]) -> Field:
    """Return an array in single precision, the same if it is already."""
    return values.astype(np.float32, copy=False)


def as_vector(values: ArrayLike) -> Vector:
    """Return three numbers as a hashable tuple."""
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z


def as_matrix(rows: NDArray[np.floating]) -> Matrix:
    """Return a 3 x 3 array as a hashable tuple of rows."""
    first, second, third = (as_vector(row) for row in rows)
    return first, second, third


@dataclass(frozen=True)
class Pose:
    """An affine move of a solid: turn and stretch by a matrix about a pivot, then shift."""

    matrix: Matrix
    pivot_mm: Vector
    shift_mm: Vector

    def __call__(self, point_mm: Vector) -> Vector:
        """Return where a point goes."""
        arm = np.subtract(point_mm, self.pivot_mm)
        return as_vector(np.array(self.matrix) @ arm + self.pivot_mm + self.shift_mm)


@dataclass(frozen=True)
class Ellipsoid:
    """A superellipsoid: the points where `|a|^p + |b|^p + |c|^p < 1` in its own axes.

    Attributes:
        to_unit: Sends a vector from the centre, in mm, to the axes of the unit ball.
        power: p; 2 is an ellipsoid, larger is boxier.
    """

    centre_mm: Vector
    to_unit: Matrix
    power: float = 2.0

    def box_mm(self) -> tuple[Vector, Vector]:
        """Return the lowest and the highest corner of a box that holds it."""
        # A boxy solid reaches beyond its ellipsoid: p = 4 by a factor of 3 ** (1/2 - 1/4).
        swell = 3.0 ** max(0.0, 0.5 - 1.0 / self.power)
        half = swell * np.linalg.norm(np.linalg.inv(np.array(self.to_unit)), axis=1)
        centre = np.array(self.centre_mm)
        return as_vector(centre - half), as_vector(centre + half)

    def level(self, points: Points) -> Field:
        """Return a field that is 0 at the centre, 1 on the surface and grows outwards."""
        x, y, z = (axis - centre for axis, centre in zip(points, self.centre_mm, strict=True))
        total = np.zeros_like(x)
        for a, b, c in self.to_unit:
            unit = np.float32(a) * x + np.float32(b) * y + np.float32(c) * z
            total += unit * unit if self.power == 2.0 else np.abs(unit) ** np.float32(self.power)
        return np.sqrt(total) if self.power == 2.0 else total ** np.float32(1.0 / self.power)

    def moved(self, pose: Pose) -> Ellipsoid:
        """Return the ellipsoid after a move."""
        matrix = np.array(self.to_unit) @ np.linalg.inv(np.array(pose.matrix))
        return replace(self, centre_mm=pose(self.centre_mm), to_unit=as_matrix(matrix))


@dataclass(frozen=True)
class Capsule:
    """A piece of a tube: a ball whose radius changes linearly as it slides along a segment."""

    start_mm: Vector
    end_mm: Vector
    radii_mm: tuple[float, float]

    def box_mm(self) -> tuple[Vector, Vector]:
        """Return the lowest and the highest corner of a box that holds it."""
        ends = np.array([self.start_mm, self.end_mm])
        radius = max(self.radii_mm)
        return as_vector(ends.min(axis=0) - radius), as_vector(ends.max(axis=0) + radius)

    def level(self, points: Points) -> Field:
        """Return the distance from the segment over the radius there: 1 on the surface."""
        along = np.subtract(self.end_mm, self.start_mm)
        along = (along / max(float(along @ along), 1e-6)).astype(np.float32)
        arm = [axis - np.float32(at) for axis, at in zip(points, self.start_mm, strict=True)]
        t = np.clip(sum(a * step for a, step in zip(arm, along, strict=True)), 0.0, 1.0)
        squares = [
            (a - t * np.float32(end - start)) ** 2
            for a, start, end in zip(arm, self.start_mm, self.end_mm, strict=True)
        ]
        first, last = self.radii_mm
        radius = np.float32(first) + t * np.float32(last - first)
        return np.sqrt(squares[0] + squares[1] + squares[2]) / radius

    def moved(self, pose: Pose) -> Capsule:
        """Return the capsule after a move; its radii grow as the cube root of the volume."""
        factor = float(abs(np.linalg.det(np.array(pose.matrix))) ** (1.0 / 3.0))
        radii = (self.radii_mm[0] * factor, self.radii_mm[1] * factor)
        return Capsule(pose(self.start_mm), pose(self.end_mm), radii)


@dataclass(frozen=True)
class SmoothUnion:
    """Ellipsoids joined by a smooth union: a fillet instead of a crease."""

    members: tuple[Ellipsoid, ...]
    sharpness: float = 7.0

    def box_mm(self) -> tuple[Vector, Vector]:
        """Return a box that holds all members, a tenth wider for the fillets."""
        boxes = np.array([member.box_mm() for member in self.members])
        low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
        margin = 0.1 * (high - low)
        return as_vector(low - margin), as_vector(high + margin)

    def level(self, points: Points) -> Field:
        """Return the soft minimum of the members' levels."""
        power = np.float32(-self.sharpness)
        total = sum(np.maximum(member.level(points), 0.05) ** power for member in self.members)
        return np.asarray(total, dtype=np.float32) ** (np.float32(1.0) / power)

    def moved(self, pose: Pose) -> SmoothUnion:
        """Return the solid after a move."""
        return replace(self, members=tuple(member.moved(pose) for member in self.members))


Solid: TypeAlias = Ellipsoid | Capsule | SmoothUnion


@dataclass(frozen=True)
class TissueRegion:
    """The region of one tissue; regions are painted in order, later ones over earlier.

    Attributes:
        tissue: A name of `TISSUES`.
        solids: Their union is painted,
        cuts: without these.
        over: Only these tissues are painted over; none named: all that fills the abdomen.
    """

    tissue: str
    solids: tuple[Solid, ...]
    cuts: tuple[Solid, ...] = ()
    over: tuple[str, ...] = ()

    def moved(self, pose: Pose) -> TissueRegion:
        """Return the region after a move."""
        return replace(
            self,
            solids=tuple(solid.moved(pose) for solid in self.solids),
            cuts=tuple(cut.moved(pose) for cut in self.cuts),
        )


def rotation(degrees: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix that turns about x, then y, then z."""
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


def ellipsoid(
    centre_mm: ArrayLike,
    radii_mm: ArrayLike,
    turn_deg: ArrayLike = (0.0, 0.0, 0.0),
    *,
    power: float = 2.0,
) -> Ellipsoid:
    """Build an ellipsoid from half axes that are then turned about its centre."""
    to_unit = np.diag(1.0 / np.array(radii_mm)) @ rotation(turn_deg).T
    return Ellipsoid(as_vector(centre_mm), as_matrix(to_unit), power)


def tube(
    knots_mm: ArrayLike, radii_mm: Sequence[float] | NDArray[np.float64], *, pieces: int = 4
) -> tuple[Capsule, ...]:
    """Build a bent tube: a spline through the knots, cut into capsules.

    Args:
        knots_mm: Points [n, 3] that the centre line goes through, two or more.
        radii_mm: The radius at each knot.
        pieces: Capsules between two knots.
    """
    knots = np.column_stack([np.array(knots_mm), np.array(radii_mm)])
    at = np.arange(len(knots), dtype=float)
    line = CubicSpline(at, knots, bc_type="natural")(
        np.linspace(0, at[-1], pieces * (len(at) - 1) + 1)
    )
    line[:, 3] = np.clip(line[:, 3], 0.7 * min(radii_mm), None)
    return tuple(
        Capsule(as_vector(a[:3]), as_vector(b[:3]), (float(a[3]), float(b[3])))
        for a, b in pairwise(line)
    )


def lumen(wall: Sequence[Capsule], thickness_mm: float) -> tuple[Capsule, ...]:
    """Return what a wall of some thickness leaves of a tube; never thinner than 1 mm."""
    radii = np.maximum(np.subtract([piece.radii_mm for piece in wall], thickness_mm), 1.0)
    return tuple(replace(p, radii_mm=tuple(r)) for p, r in zip(wall, radii.tolist(), strict=True))


def posed(
    rng: np.random.Generator,
    regions: Sequence[TissueRegion],
    pivot_mm: ArrayLike,
    *,
    shift_mm: float,
    stretch: float,
    turn_deg: float,
) -> tuple[TissueRegion, ...]:
    """Move regions together, by a move that is drawn from standard deviations.

    Args:
        rng: Source of randomness.
        regions: What is moved.
        pivot_mm: What the move turns and stretches about.
        shift_mm: Of the shift along each axis.
        stretch: Of the logarithm of the size; a third of it again along each axis.
        turn_deg: Of the turn about each axis.
    """
    sizes = np.exp(rng.normal(0.0, stretch) + rng.normal(0.0, stretch / 3.0, 3))
    matrix = rotation(rng.normal(0.0, turn_deg, 3)) @ np.diag(sizes)
    shift = as_vector(rng.normal(0.0, shift_mm, 3))
    pose = Pose(as_matrix(matrix), as_vector(pivot_mm), shift)
    return tuple(region.moved(pose) for region in regions)
