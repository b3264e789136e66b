"""The phantom's gut and great vessels, as analytic solids in anatomical coordinates."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.phantom.shapes import Capsule, Solid, TissueRegion, ellipsoid, lumen, posed, tube

# Knots, mm.
STOMACH = [(62, -14, 86), (64, -52, 76), (56, -92, 48), (24, -108, 22), (-14, -100, 14)]
AORTA = [(-2, -44, -150), (9, -42, -90), (11, -42, -30), (10, -38, 25), (8, -26, 75), (9, 6, 150)]
CAVA = [(-24, -36, -150), (-22, -42, -80), (-20, -45, -10), (-20, -40, 45), (-19, -34, 95)]
RIGHT_RENAL = [(-20, -44, 0), (-38, -32, -4), (-54, -10, -8)]
LEFT_RENAL = [(-16, -52, 4), (16, -56, 6), (40, -34, 6), (54, -10, 7)]
ESOPHAGUS = [(4, -10, 160), (9, -22, 122), (20, -34, 98), (42, -28, 86)]
# The lowest and the highest corner of where loops lie.
JEJUNUM = (np.array([18.0, -108.0, -60.0]), np.array([92.0, -50.0, 32.0]))
ILEUM = (np.array([-78.0, -112.0, -150.0]), np.array([84.0, -48.0, -22.0]))
FAR_MM = 1500.0  # a ball this large is a plane


def draw_stomach(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a stomach: wall, food, fluid or oral contrast, and gas that floats to the front."""
    fill = rng.uniform(0.7, 1.08)
    radii = [fill * r for r in (26.0, 30.0, 26.0, 19.0)] + [13.0]
    wall = tube(_jittered(rng, STOMACH, 4.0), radii)
    inside = lumen(wall, 6.0)
    contents = ["stomach_food", "stomach_fluid", "stomach_contrast"]
    content = str(rng.choice(contents, p=[0.5, 0.25, 0.25]))
    regions = [
        TissueRegion("stomach", wall),
        TissueRegion(content, inside, over=("stomach",)),
    ]
    if rng.random() < 0.8:
        floor = _below(rng.uniform(-95.0, -60.0))
        regions.append(TissueRegion("stomach_gas", inside, cuts=(floor,), over=(content,)))
    return posed(rng, regions, (45.0, -60.0, 50.0), shift_mm=4.0, stretch=0.06, turn_deg=4.0)


def draw_colon(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw a colon: up the right side, across the front, down the left side."""
    sag = rng.uniform(-50.0, 5.0)
    knots = [
        (-98, -40, -140), (-104, -40, -85), (-96, -72, -36), (-50, -112, -22 + 0.5 * sag),
        (10, -122, -20 + sag), (64, -114, -4 + 0.5 * sag), (106, -60, 30), (112, -14, -24),
        (110, -18, -80), (104, -34, -140),
    ]  # fmt: skip
    radii = [*rng.uniform(16.0, 23.0, 3), *rng.uniform(13.0, 21.0, 7)]
    wall = tube(_jittered(rng, knots, 4.0), radii, pieces=5)
    return (TissueRegion("bowel_wall", wall), *_fillings(rng, wall, floor_mm=6.0))


def draw_small_bowel(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw loops of small bowel that wander about the lower abdomen."""
    regions: list[TissueRegion] = []
    for loop in range(rng.integers(9, 14)):
        # The first four are jejunum, which reaches up to the stomach on the left.
        low, high = JEJUNUM if loop < 4 else ILEUM
        steps = rng.normal(0.0, (26.0, 16.0, 20.0), (6, 3)).cumsum(axis=0)
        path = rng.uniform(low, high) + steps - steps.mean(axis=0)
        wall = tube(np.clip(path, low, high), rng.uniform(9.0, 14.0, 6), pieces=3)
        contents = ["bowel_wall", "bowel_fluid", "bowel_contrast"]
        content = str(rng.choice(contents, p=[0.5, 0.3, 0.2]))
        regions.append(TissueRegion("bowel_wall", wall))
        regions.append(TissueRegion(content, lumen(wall, 4.0), over=("bowel_wall",)))
    return (*regions, _draw_mesentery(rng))


def draw_vessels(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw aorta and inferior vena cava in front of the spine, with the renal vessels."""
    wide = np.exp(rng.normal(0.0, 0.10))
    flat = rng.uniform(8.0, 11.5)
    renal = (
        *tube(RIGHT_RENAL, [5.0, 4.5, 4.0], pieces=2),
        *tube(LEFT_RENAL, [5.0, 4.5, 4.5, 4.0]),
    )
    cava = (
        *tube(CAVA, [8.5, flat, flat, 10.5, 11.5]),
        *tube([CAVA[-1], (-14, -56, 132)], [11.5, 11.5]),
    )
    radii = wide * np.array([8, 9, 9.5, 10.5, 11.5, 12])
    regions = [
        TissueRegion("blood", renal, over=("fat",)),
        TissueRegion("vena_cava", cava),
        TissueRegion("aorta", tube(_jittered(rng, AORTA, 1.5), radii)),
    ]
    return posed(rng, regions, (0.0, -40.0, 0.0), shift_mm=1.5, stretch=0.03, turn_deg=1.5)


def draw_esophagus(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw the end of the esophagus, from behind the heart into the stomach."""
    knots = _jittered(rng, ESOPHAGUS, 2.0)
    return (TissueRegion("esophagus", tube(knots, [8.0, 8.5, 8.5, 8.0])),)


def _draw_mesentery(rng: np.random.Generator) -> TissueRegion:
    """Draw thin vessels that fan out from the root of the mesentery: dots in the fat."""
    root = np.array([0.0, -75.0, -10.0])
    twigs: list[Solid] = []
    for _ in range(14):
        end = rng.uniform((-85.0, -112.0, -130.0), (90.0, -60.0, 10.0))
        bend = (root + end) / 2.0 + rng.normal(0.0, 10.0, 3)
        twigs += tube([root, bend, end], [3.0, 2.4, 1.6], pieces=2)
    return TissueRegion("blood", tuple(twigs), over=("fat",))


def _fillings(
    rng: np.random.Generator, wall: tuple[Capsule, ...], *, floor_mm: float
) -> tuple[TissueRegion, ...]:
    """Fill a tube, a few pieces at a time, with stool, gas over stool, or fluid."""
    regions: list[TissueRegion] = []
    for start in range(0, len(wall), 5):
        inside = lumen(wall[start : start + 5], 3.0)
        content = str(rng.choice(["stool", "bowel_fluid"], p=[0.75, 0.25]))
        regions.append(TissueRegion(content, inside, over=("bowel_wall",)))
        if rng.random() < 0.55:
            middle = float(np.mean([piece.start_mm[1] for piece in inside]))
            floor = _below(middle + rng.uniform(-floor_mm, floor_mm))
            regions.append(TissueRegion("bowel_gas", inside, cuts=(floor,), over=(content,)))
    return tuple(regions)


def _below(y_mm: float) -> Solid:
    """Return all that lies behind a height, as gas floats to the front of a lying patient."""
    return ellipsoid((0.0, y_mm + FAR_MM, 0.0), (FAR_MM, FAR_MM, FAR_MM))


def _jittered(
    rng: np.random.Generator, knots: ArrayLike, deviation_mm: float
) -> NDArray[np.float64]:
    return np.array(knots) + rng.normal(0.0, deviation_mm, np.shape(knots))
