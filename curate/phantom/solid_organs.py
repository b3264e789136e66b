"""The phantom's solid organs and their tumours, as analytic solids in anatomical coordinates."""

from dataclasses import dataclass, replace

import numpy as np

from curate.phantom.shapes import (
    Ellipsoid,
    SmoothUnion,
    Solid,
    TissueRegion,
    as_matrix,
    ellipsoid,
    lumen,
    posed,
    rotation,
    tube,
)

LIVER_VESSELS = (  # the knots of each, mm, and its radii there
    ([(-36, -62, 48), (-66, -50, 52), (-100, -30, 44)], [6.0, 5.0, 2.5]),
    ([(-62, -52, 52), (-84, -68, 58), (-104, -84, 60)], [4.5, 3.8, 2.2]),
    ([(-36, -62, 48), (-16, -82, 60), (14, -92, 62)], [5.5, 4.2, 2.2]),
    ([(-20, -36, 92), (-56, -36, 84), (-98, -36, 66)], [6.0, 5.0, 2.4]),
    ([(-20, -38, 92), (-40, -72, 82), (-52, -100, 66)], [5.0, 4.4, 2.4]),
    ([(-18, -38, 92), (4, -76, 80), (26, -98, 72)], [5.0, 3.8, 2.2]),
)
DUODENUM = [(-38, -92, 20), (-56, -74, 6), (-54, -58, -24), (-14, -58, -36), (32, -62, -16)]
PANCREAS = (
    [(-26, -58, -20), (-32, -68, -3), (-12, -76, 13), (14, -74, 25), (44, -54, 33), (76, -28, 41)],
    [9.0, 16.0, 11.0, 11.5, 12.5, 10.5],
)

CYST_CHANCE = 0.4  # of each kidney; annotators count cysts as kidney


@dataclass(frozen=True)
class TumourChance:
    """How likely a patient has tumours, per organ; a kidney tumour is in one of the two."""

    liver: float = 0.3
    pancreas: float = 0.1
    kidney: float = 0.1


def draw_liver(rng: np.random.Generator, *, tumour_chance: float) -> tuple[TissueRegion, ...]:
    """Draw a liver with its vessels; the diaphragm and the wall will trim it."""
    right = ellipsoid((-72.0, -30.0, 38.0), (74.0, 91.0, 85.0), (0.0, 8.0, 0.0), power=2.5)
    left = ellipsoid(
        (rng.normal(12.0, 8.0), -86.0, 66.0),
        (rng.uniform(62.0, 88.0), 42.0, rng.uniform(28.0, 38.0)),
        (0.0, -8.0, 12.0),
    )
    caudate = ellipsoid((-24.0, -46.0, 60.0), (20.0, 18.0, 30.0))
    hollow = ellipsoid((14.0, -54.0, -36.0), (96.0, 96.0, 76.0), (0.0, -8.0, 0.0))
    kidney_bed = ellipsoid((-44.0, 30.0, 0.0), (48.0, 42.0, 64.0), (-12.0, 8.0, 0.0))
    fissure = ellipsoid((-4.0, -118.0, 46.0), (3.0, 36.0, 26.0), (0.0, 0.0, -12.0))
    lobes = SmoothUnion((right, left, caudate))
    vessels: list[Solid] = [piece for vessel in LIVER_VESSELS for piece in tube(*vessel)]
    regions = [
        TissueRegion("liver", (lobes,), (hollow, kidney_bed, fissure)),
        TissueRegion("liver_vessel", tuple(vessels), over=("liver",)),
    ]
    if rng.random() < tumour_chance:
        hosts = [(left if rng.random() < 0.2 else right) for _ in range(rng.integers(1, 5))]
        tumours = tuple(_tumour(rng, h, (0.0, 0.72), rng.uniform(7.0, 24.0)) for h in hosts)
        regions.append(TissueRegion("liver_tumour", tumours, over=("liver", "liver_vessel")))
    return posed(rng, regions, (-60.0, -40.0, 60.0), shift_mm=4.0, stretch=0.07, turn_deg=4.0)


def draw_spleen(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a spleen: a cap against the wall, hollow towards the stomach and the kidney."""
    centre, radii = (102.0, 6.0, 58.0), (33.0, 50.0, rng.uniform(46.0, 58.0))
    body = ellipsoid(centre, radii, (24.0, 10.0, -14.0), power=2.2)
    hollow = ellipsoid((56.0, -14.0, 62.0), (34.0, 46.0, 60.0), (16.0, 0.0, -8.0))
    spleen = TissueRegion("spleen", (body,), (hollow,))
    return posed(rng, [spleen], centre, shift_mm=4.0, stretch=0.10, turn_deg=6.0)


def draw_kidney(
    rng: np.random.Generator, side: str, *, with_tumour: bool
) -> tuple[tuple[TissueRegion, ...], tuple[TissueRegion, ...]]:
    """Draw the "left" or "right" kidney: cortex, pyramids and a sinus of fat; apart, its tumour."""
    sign = 1.0 if side == "left" else -1.0
    centre = np.array([69.0 * sign, 3.0, 7.0 if side == "left" else -8.0])
    turn = (-14.0, -11.0 * sign, 0.0)
    frame = rotation(turn)

    def at(x: float, y: float, z: float) -> np.ndarray:
        return centre + frame @ np.array([x * sign, y, z])

    bean = ellipsoid(centre, (28.0, 27.0, 56.0), turn, power=2.2)
    sinus = ellipsoid(at(-18.0, -8.0, 0.0), (18.0, 10.0, 22.0), turn)
    pyramids = tuple(
        ellipsoid(at(13.0 * np.cos(a) - 2.0, -3.0, 36.0 * np.sin(a * 0.62)), (9.0, 11.0, 7.0))
        for a in np.linspace(-2.3, 2.3, 7)
    )
    capsule = replace(bean, to_unit=as_matrix(np.array(bean.to_unit) / rng.uniform(1.05, 1.25)))
    kidney = [
        TissueRegion("fat", (capsule,)),
        TissueRegion(f"{side}_kidney", (bean,), (sinus,)),
        TissueRegion(f"{side}_medulla", pyramids, over=(f"{side}_kidney",)),
    ]
    if rng.random() < CYST_CHANCE:
        cysts = tuple(
            _tumour(rng, bean, (0.5, 1.05), rng.uniform(5.0, 16.0))
            for _ in range(rng.integers(1, 4))
        )
        over = (f"{side}_kidney", f"{side}_medulla", "fat")
        kidney.append(TissueRegion(f"{side}_cyst", cysts, over=over))
    tumours = []
    if with_tumour:
        radius_mm = np.clip(rng.gamma(3.0, 7.0), 8.0, 38.0)
        tumour = _tumour(rng, bean, (0.8, 1.15), radius_mm)
        over = (f"{side}_kidney", f"{side}_medulla", f"{side}_cyst", "fat")
        tumours = [TissueRegion(f"{side}_kidney_tumour", (tumour,), over=over)]
    regions = posed(rng, [*kidney, *tumours], centre, shift_mm=4.0, stretch=0.09, turn_deg=5.0)
    return regions[: len(kidney)], regions[len(kidney) :]


def draw_adrenal(rng: np.random.Generator, side: str) -> tuple[TissueRegion, ...]:
    """Draw an adrenal gland: an inverted Y of two thin limbs above the kidney."""
    sign = 1.0 if side == "left" else -1.0
    x, y, z = (40.0, -24.0, 52.0) if side == "left" else (-34.0, -20.0, 54.0)
    top, radii = (x - 2.0 * sign, y - 8.0, z + 10.0), (4.0, 4.6, 3.4)
    medial = [top, (x, y, z), (x - 5.0 * sign, y + 16.0, z - 8.0)]
    lateral = [top, (x + 3.0 * sign, y, z), (x + 13.0 * sign, y + 12.0, z - 10.0)]
    adrenal = TissueRegion(f"{side}_adrenal", (*tube(medial, radii), *tube(lateral, radii)))
    return posed(rng, [adrenal], (x, y, z), shift_mm=2.0, stretch=0.08, turn_deg=6.0)


def draw_gallbladder(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a gallbladder, or none: it is missing in 2 of the 30 cases of BTCV."""
    if rng.random() < 2.0 / 30.0:
        return ()
    body = ellipsoid((-60.0, -96.0, 4.0), (14.0, 18.0, 16.0), (30.0, 0.0, 0.0))
    neck = ellipsoid((-54.0, -78.0, 16.0), (8.0, 13.0, 9.0), (30.0, 0.0, 0.0))
    gallbladder = TissueRegion("gallbladder", (SmoothUnion((body, neck)),))
    pivot = (-58.0, -90.0, 8.0)
    return posed(rng, [gallbladder], pivot, shift_mm=4.0, stretch=0.15, turn_deg=8.0)


def draw_pancreas(rng: np.random.Generator, *, tumour_chance: float) -> tuple[TissueRegion, ...]:
    """Draw a pancreas, the duodenum around its head and the veins behind its body."""
    line = PANCREAS[0] + rng.normal(0.0, 3.5, (6, 3))
    radii = PANCREAS[1] * np.exp(rng.normal(-0.10, 0.16) + rng.normal(0.0, 0.05, 6))
    duodenum = tube(DUODENUM, [12.0, 13.0, 12.5, 11.0, 11.0])
    regions = [
        TissueRegion("bowel_wall", duodenum),
        TissueRegion("bowel_fluid", lumen(duodenum, 5.0), over=("bowel_wall",)),
        TissueRegion("pancreas", tube(line, radii)),
    ]
    if rng.random() < tumour_chance:
        centre = line[rng.integers(1, 5)]
        radius_mm = rng.uniform(8.0, 17.0)
        centre = centre + rng.normal(0.0, 3.0, 3)
        tumour = ellipsoid(centre, radius_mm * rng.uniform(0.8, 1.2, 3))
        regions.append(TissueRegion("pancreas_tumour", (tumour,), over=("pancreas", "fat")))
    splenic = np.add(line[:1:-1], (2.0, 11.0, 3.0))
    portal = [splenic[-1], (-24.0, -64.0, 30.0), (-40.0, -62.0, 50.0)]
    mesenteric = [splenic[-1], (-10.0, -72.0, -22.0), (-4.0, -84.0, -62.0)]
    veins = (*tube(splenic, [4.2, 4.8, 5.2, 6.4]), *tube(portal, [6.8, 7.2, 6.5]))
    blood = tube(mesenteric, [6.0, 5.5, 4.5])
    regions.append(TissueRegion("portal_vein", veins))
    regions.append(TissueRegion("blood", blood, over=("fat", "bowel_wall")))
    return posed(rng, regions, (0.0, -65.0, 22.0), shift_mm=4.0, stretch=0.05, turn_deg=4.0)


def _tumour(
    rng: np.random.Generator, host: Ellipsoid, levels: tuple[float, float], radius_mm: float
) -> Ellipsoid:
    """Draw a tumour whose centre lies between two levels of its host."""
    ray = rng.normal(size=3)
    ray *= rng.uniform(*levels) / float(np.linalg.norm(ray))
    centre = np.array(host.centre_mm) + np.linalg.inv(np.array(host.to_unit)) @ ray
    radii = radius_mm * rng.uniform(0.8, 1.2, 3)
    turn = rng.uniform(-45.0, 45.0, 3)
    return ellipsoid(centre, radii, turn)
