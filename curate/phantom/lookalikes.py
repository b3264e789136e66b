"""What lies beside the phantom's organs and looks like them, as analytic solids.

It takes no organ's place: it fills fat, or lung above the diaphragm. Of what lies within 6 mm of a
patient's liver or spleen, a fifth has the organ's own Hounsfield units; bare fat would be too easy.
"""

import numpy as np

from curate.phantom.shapes import TissueRegion, ellipsoid, tube

# Where nodes, varices and the like lie: hilum of the spleen, porta of the liver, around the
# pancreas, beside the aorta, beside the kidneys.
NODES = [
    (76, -20, 52), (84, -2, 36), (-40, -66, 40), (-30, -82, 8), (20, -62, 8), (52, -46, 18),
    (24, -40, -30), (-4, -56, -30), (46, -10, 24), (-44, -14, 20),
]  # fmt: skip
AROUND_PANCREAS = (np.array([-62.0, -104.0, -48.0]), np.array([94.0, -36.0, 44.0]))
# The knots of the left half of the diaphragm's legs and of its slip along the back, mm.
CRUS = [(17, -20, -35), (21, -28, 20), (24, -22, 66), (30, -10, 92)]
SLIP = [(24, -16, 40), (50, 22, 44), (80, 44, 40), (104, 34, 22)]


def draw_lookalikes(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw collapsed loops, nodes, the diaphragm's muscle, and lung that has lost its air."""
    return (
        _draw_diaphragm(rng),
        _draw_nodes(rng),
        *_draw_collapsed_loops(rng),
        *_draw_atelectasis(rng),
    )


def _draw_diaphragm(rng: np.random.Generator) -> TissueRegion:
    """Draw the legs of the diaphragm beside the aorta, and its slips behind kidneys and spleen."""
    pieces = []
    for sign in (-1.0, 1.0):
        for knots, radii in ((CRUS, [6.0, 7.0, 6.0, 5.0]), (SLIP, [4.5, 4.0, 4.0, 4.0])):
            line = (np.array(knots) + rng.normal(0.0, 2.5, (4, 3))) * (sign, 1.0, 1.0)
            pieces += tube(line, rng.uniform(0.7, 1.3) * np.array(radii), pieces=3)
    return TissueRegion("muscle", tuple(pieces), over=("fat",))


def _draw_nodes(rng: np.random.Generator) -> TissueRegion:
    """Draw lumps of soft tissue beside the organs: nodes, varices, small spleens."""
    places = rng.choice(np.array(NODES), rng.integers(5, 12))
    lumps = tuple(
        ellipsoid(place + rng.normal(0.0, 8.0, 3), rng.uniform(4.0, 10.0, 3)) for place in places
    )
    return TissueRegion("node", lumps, over=("fat",))


def _draw_collapsed_loops(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw loops without contents around the pancreas, whose Hounsfield units they have."""
    low, high = AROUND_PANCREAS
    regions = []
    for _ in range(rng.integers(4, 9)):
        steps = rng.normal(0.0, (22.0, 14.0, 16.0), (4, 3)).cumsum(axis=0)
        path = np.clip(rng.uniform(low, high) + steps - steps.mean(axis=0), low, high)
        loop = tube(path, rng.uniform(6.0, 10.5, 4), pieces=2)
        regions.append(TissueRegion("bowel_wall", loop, over=("fat",)))
    return tuple(regions)


def _draw_atelectasis(rng: np.random.Generator) -> tuple[TissueRegion, ...]:
    """Draw lung that has collapsed under its own weight: behind, on the diaphragm."""
    regions = []
    for sign in (-1.0, 1.0):
        if rng.random() < 0.6:
            centre = np.array([62.0 * sign, 40.0, 80.0]) + rng.normal(0.0, 5.0, 3)
            lump = ellipsoid(centre, rng.uniform((30.0, 16.0, 14.0), (60.0, 32.0, 34.0)))
            regions.append(TissueRegion("atelectasis", (lump,), over=("lung",)))
    return tuple(regions)
