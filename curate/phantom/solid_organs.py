"""The phantom's solid organs and their tumours, as analytic solids in anatomical coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.phantom.shapes import (
    Ellipsoid,
    Pose,
    SmoothUnion,
    Solid,
    TissueRegion,
    Vector,
    as_matrix,
    as_vector,
    ellipsoid,
    rotation,
    tube,
)


@dataclass(frozen=True)
class TumourChance:
    """How likely a patient has tumours, per organ; a kidney tumour is in one of the two."""

    liver: float = 0.3
    pancreas: float = 0.1
    kidney: float = 0.1


def draw_pose(
    rng: np.random.Generator, pivot_mm: Vector, *, shift_mm: float, stretch: float, turn_deg: float
) -> Pose:
    """Draw a move about a pivot, from standard deviations.

    Args:
        rng: Source of randomness.
        pivot_mm: What the move turns and stretches about.
        shift_mm: Of the shift along each axis.
        stretch: Of the logarithm of the size; a third of it again along each axis.
        turn_deg: Of the turn about each axis.
    """
    sizes = np.exp(rng.normal(0.0, stretch) + rng.normal(0.0, stretch / 3.0, 3))
    matrix = rotation(as_vector(rng.normal(0.0, turn_deg, 3))) @ np.diag(sizes)
    return Pose(as_matrix(matrix), pivot_mm, as_vector(rng.normal(0.0, shift_mm, 3)))


def posed(regions: Sequence[TissueRegion], pose: Pose) -> tuple[TissueRegion, ...]:
    """Return regions that moved together."""
    return tuple(region.moved(pose) for region in regions)


def draw_liver(rng: np.random.Generator, *, tumour_chance: float) -> tuple[TissueRegion, ...]:
    """Draw a liver with its vessels; the diaphragm and the wall will trim it."""
    right = ellipsoid((-72.0, -30.0, 38.0), (72.0, 88.0, 82.0), (0.0, 8.0, 0.0), power=2.5)
    left = ellipsoid(
        (float(rng.normal(12.0, 8.0)), -86.0, 66.0),
        (float(rng.uniform(62.0, 88.0)), 42.0, float(rng.uniform(28.0, 38.0))),
        (0.0, -8.0, 12.0),
    )
    caudate = ellipsoid((-24.0, -46.0, 60.0), (20.0, 18.0, 30.0))
    hollow = ellipsoid((14.0, -54.0, -36.0), (96.0, 96.0, 76.0), (0.0, -8.0, 0.0))
    kidney_bed = ellipsoid((-44.0, 30.0, 0.0), (48.0, 42.0, 64.0), (-12.0, 8.0, 0.0))
    fissure = ellipsoid((-4.0, -118.0, 46.0), (3.0, 36.0, 26.0), (0.0, 0.0, -12.0))
    regions = [
        TissueRegion(
            "liver", (SmoothUnion((right, left, caudate)),), (hollow, kidney_bed, fissure)
        ),
        TissueRegion("liver_vessel", _liver_vessels(), over=("liver",)),
    ]
    if rng.random() < tumour_chance:
        lobes = [(left if rng.random() < 0.2 else right) for _ in range(rng.integers(1, 5))]
        tumours = tuple(
            _lump(rng, lobe, depth=0.72, radius_mm=rng.uniform(7.0, 24.0)) for lobe in lobes
        )
        regions.append(TissueRegion("liver_tumour", tumours, over=("liver", "liver_vessel")))
    pose = draw_pose(rng, (-60.0, -40.0, 60.0), shift_mm=4.0, stretch=0.05, turn_deg=4.0)
    return posed(regions, pose)


def _liver_vessels() -> tuple[Solid, ...]:
    return (
        *tube([(-36, -62, 48), (-66, -50, 52), (-100, -30, 44)], [6.0, 5.0, 2.5]),
        *tube([(-62, -52, 52), (-84, -68, 58), (-104, -84, 60)], [4.5, 3.8, 2.2]),
        *tube([(-36, -62, 48), (-16, -82, 60), (14, -92, 62)], [5.5, 4.2, 2.2]),
        *tube([(-20, -36, 92), (-56, -36, 84), (-98, -36, 66)], [6.0, 5.0, 2.4]),
        *tube([(-20, -38, 92), (-40, -72, 82), (-52, -100, 66)], [5.0, 4.4, 2.4]),
        *tube([(-18, -38, 92), (4, -76, 80), (26, -98, 72)], [5.0, 3.8, 2.2]),
    )


def draw_spleen(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a spleen: a cap against the wall, hollow towards the stomach and the kidney."""
    length = float(rng.uniform(46.0, 58.0))
    body = ellipsoid((102.0, 6.0, 58.0), (33.0, 50.0, length), (24.0, 10.0, -14.0), power=2.2)
    hollow = ellipsoid((56.0, -14.0, 62.0), (34.0, 46.0, 60.0), (16.0, 0.0, -8.0))
    pose = draw_pose(rng, (102.0, 6.0, 58.0), shift_mm=4.0, stretch=0.10, turn_deg=6.0)
    return posed([TissueRegion("spleen", (body,), (hollow,))], pose)


def draw_kidney(
    rng: np.random.Generator, side: str, *, with_tumour: bool
) -> tuple[tuple[TissueRegion, ...], tuple[TissueRegion, ...]]:
    """Draw a kidney: cortex, pyramids and a sinus of fat, and apart from it a tumour or none.

    Args:
        rng: Source of randomness.
        side: The patient's side, "left" or "right".
        with_tumour: Whether it has a tumour.
    """
    sign = 1.0 if side == "left" else -1.0
    centre = np.array([69.0 * sign, 0.0, 7.0 if side == "left" else -8.0])
    turn = (-14.0, -11.0 * sign, 0.0)
    frame = rotation(turn)

    def at(x: float, y: float, z: float) -> Vector:
        return as_vector(centre + frame @ np.array([x * sign, y, z]))

    bean = ellipsoid(as_vector(centre), (27.0, 26.0, 55.0), turn, power=2.2)
    sinus = ellipsoid(at(-18.0, -8.0, 0.0), (18.0, 10.0, 22.0), turn)
    angles = np.linspace(-2.3, 2.3, 7)
    pyramids = tuple(
        ellipsoid(at(13.0 * np.cos(a) - 2.0, -3.0, 36.0 * np.sin(a * 0.62)), (9.0, 11.0, 7.0))
        for a in angles
    )
    capsule = bean.scaled(float(rng.uniform(1.05, 1.25)))
    regions = [
        TissueRegion("fat", (capsule,)),
        TissueRegion(f"{side}_kidney", (bean,), (sinus,)),
        TissueRegion(f"{side}_medulla", pyramids, over=(f"{side}_kidney",)),
    ]
    lumps = []
    if with_tumour:
        radius = float(np.clip(rng.gamma(3.0, 7.0), 8.0, 38.0))
        lump = _lump(rng, bean, depth=1.15, radius_mm=radius, least=0.8)
        over = (f"{side}_kidney", f"{side}_medulla", "fat")
        lumps = [TissueRegion(f"{side}_kidney_tumour", (lump,), over=over)]
    pose = draw_pose(rng, as_vector(centre), shift_mm=4.0, stretch=0.07, turn_deg=5.0)
    return posed(regions, pose), posed(lumps, pose)


def draw_adrenal(rng: np.random.Generator, side: str) -> tuple[TissueRegion, ...]:
    """Draw an adrenal gland: an inverted Y of two thin limbs above the kidney."""
    sign = 1.0 if side == "left" else -1.0
    x, y, z = (40.0, -24.0, 52.0) if side == "left" else (-34.0, -20.0, 54.0)
    top = (x - 2.0 * sign, y - 8.0, z + 10.0)
    limbs = (
        *tube([top, (x, y, z), (x - 5.0 * sign, y + 16.0, z - 8.0)], [4.0, 4.6, 3.4]),
        *tube(
            [top, (x + 3.0 * sign, y, z), (x + 13.0 * sign, y + 12.0, z - 10.0)], [4.0, 4.6, 3.4]
        ),
    )
    pose = draw_pose(rng, (x, y, z), shift_mm=2.0, stretch=0.08, turn_deg=6.0)
    return posed([TissueRegion(f"{side}_adrenal", limbs)], pose)


def draw_gallbladder(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a gallbladder, or none: it is missing in 2 of the 30 cases of BTCV."""
    if rng.random() < 2.0 / 30.0:
        return ()
    pear = SmoothUnion(
        (
            ellipsoid((-60.0, -96.0, 4.0), (14.0, 18.0, 16.0), (30.0, 0.0, 0.0)),
            ellipsoid((-54.0, -78.0, 16.0), (8.0, 13.0, 9.0), (30.0, 0.0, 0.0)),
        )
    )
    pose = draw_pose(rng, (-58.0, -90.0, 8.0), shift_mm=4.0, stretch=0.15, turn_deg=8.0)
    return posed([TissueRegion("gallbladder", (pear,))], pose)


def draw_pancreas(rng: np.random.Generator, *, tumour_chance: float) -> tuple[TissueRegion, ...]:
    """Draw a pancreas, the duodenum around its head and the veins behind its body."""
    line = np.array(
        [
            (-26.0, -58.0, -20.0, 9.0),
            (-32.0, -68.0, -3.0, 16.0),
            (-12.0, -76.0, 13.0, 11.0),
            (14.0, -74.0, 25.0, 11.5),
            (44.0, -54.0, 33.0, 12.5),
            (76.0, -28.0, 41.0, 10.5),
        ]
    )
    line[:, :3] += rng.normal(0.0, 3.5, (6, 3))
    line[:, 3] *= np.exp(rng.normal(0.0, 0.10) + rng.normal(0.0, 0.05, 6))
    regions = [
        *_duodenum(),
        TissueRegion("pancreas", tube([as_vector(knot) for knot in line[:, :3]], list(line[:, 3]))),
    ]
    if rng.random() < tumour_chance:
        place = line[rng.integers(1, 5)]
        radius = float(rng.uniform(8.0, 17.0))
        centre = as_vector(place[:3] + rng.normal(0.0, 3.0, 3))
        lump = ellipsoid(centre, as_vector(radius * rng.uniform(0.8, 1.2, 3)))
        regions.append(TissueRegion("pancreas_tumour", (lump,), over=("pancreas", "fat")))
    behind = np.array([2.0, 11.0, 3.0])
    splenic = [as_vector(knot[:3] + behind) for knot in line[:1:-1]]
    radii = [4.2, 4.8, 5.2, 6.4]
    portal = [splenic[-1], (-24.0, -64.0, 30.0), (-40.0, -62.0, 50.0)]
    regions.append(
        TissueRegion("portal_vein", (*tube(splenic, radii), *tube(portal, [6.8, 7.2, 6.5])))
    )
    mesenteric = [splenic[-1], (-10.0, -72.0, -22.0), (-4.0, -84.0, -62.0)]
    regions.append(
        TissueRegion("blood", tube(mesenteric, [6.0, 5.5, 4.5]), over=("fat", "bowel_wall"))
    )
    pose = draw_pose(rng, (0.0, -65.0, 22.0), shift_mm=4.0, stretch=0.05, turn_deg=4.0)
    return posed(regions, pose)


def _duodenum() -> tuple[TissueRegion, ...]:
    knots = [(-38, -92, 20), (-56, -74, 6), (-54, -58, -24), (-14, -58, -36), (32, -62, -16)]
    wall = tube(knots, [12.0, 13.0, 12.5, 11.0, 11.0])
    return (
        TissueRegion("bowel_wall", wall),
        TissueRegion(
            "bowel_fluid", tuple(piece.shrunk(5.0) for piece in wall), over=("bowel_wall",)
        ),
    )


def _lump(
    rng: np.random.Generator,
    host: Ellipsoid,
    *,
    depth: float,
    radius_mm: float,
    least: float = 0.0,
) -> Ellipsoid:
    """Draw a tumour whose centre lies at a level between `least` and `depth` of its host."""
    ray = rng.normal(size=3)
    ray *= rng.uniform(least, depth) / float(np.linalg.norm(ray))
    centre = np.array(host.centre_mm) + np.linalg.inv(np.array(host.to_unit)) @ ray
    radii = float(radius_mm) * rng.uniform(0.8, 1.2, 3)
    turn = as_vector(rng.uniform(-45.0, 45.0, 3))
    return ellipsoid(as_vector(centre), as_vector(radii), turn)
