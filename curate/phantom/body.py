"""The phantom's body without its organs: skin, wall, spine, ribs, diaphragm and lungs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.phantom.shapes import Field, Points, as_field, ellipsoid
from curate.phantom.tissues import TISSUE_ID

CENTRE_Y_MM = -30.0  # of the trunk; the origin is the second lumbar vertebra
POWER = 2.25  # of the trunk's superelliptic outline
VERTEBRA_MM = 34.0
RIB_MM = 29.0


@dataclass(frozen=True)
class Body:
    """The trunk in anatomical coordinates (LPS mm; origin in the second lumbar vertebra).

    Attributes:
        half_mm: Half width (x) and half depth (y) of the wall's outside.
        wall_mm: Thickness of the muscular wall.
        fat_mm: Thickness of the fat under the skin: at the side, in front, at the back.
        waist: How much narrower the trunk is at the waist, as a fraction.
        diaphragm_mm: Height of the right dome, the left dome and the centre.
        vertebra_mm: Where along z the vertebrae begin.
        rib_mm: Where along z the ribs begin.
    """

    half_mm: tuple[float, float]
    wall_mm: float
    fat_mm: tuple[float, float, float]
    waist: float
    diaphragm_mm: tuple[float, float, float]
    vertebra_mm: float
    rib_mm: float


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a trunk between slim and obese."""
    fat = float(rng.gamma(3.0, 6.0)) + 5.0
    right = float(rng.normal(113.0, 5.0))
    return Body(
        half_mm=(float(rng.normal(144.0, 4.0)), float(rng.normal(107.0, 4.0))),
        wall_mm=float(rng.uniform(11.0, 16.0)),
        fat_mm=(0.75 * fat, fat * float(rng.uniform(0.7, 1.3)), fat * float(rng.uniform(0.5, 0.9))),
        waist=float(rng.uniform(0.0, 0.07)),
        diaphragm_mm=(right, right - float(rng.uniform(3.0, 14.0)), right - 14.0),
        vertebra_mm=float(rng.uniform(-18.0, -14.0)),
        rib_mm=float(rng.uniform(0.0, RIB_MM)),
    )


def paint_body(body: Body, points: Points, tissues: NDArray[np.uint8]) -> None:
    """Paint a trunk without organs into the voxels' tissue ids, which are air so far."""
    side, front, back = body.fat_mm
    outline = _Outline(body, points)
    tissues[outline.level(side, front, back) < 1.0] = TISSUE_ID["skin_fat"]
    wall = outline.level(0.0, 0.0, 0.0) < 1.0
    tissues[wall] = TISSUE_ID["muscle"]
    wide = body.wall_mm
    inside = outline.level(-wide, 3.0 - wide, -wide - 6.0) < 1.0
    tissues[inside] = TISSUE_ID["fat"]
    _paint_chest(body, points, tissues, inside)
    _paint_ribs(body, points, outline, tissues)
    _paint_back(points, tissues, inside)
    _paint_spine(body, points, tissues)


class _Outline:
    """The trunk's cross-section, from which the skin and the cavity follow by offset."""

    def __init__(self, body: Body, points: Points) -> None:
        x, y, z = points
        narrowing = np.float32(1.0) - np.float32(body.waist) * np.exp(-(((z + 45.0) / 60.0) ** 2))
        self._half = body.half_mm
        self._u = np.abs(x / (narrowing * np.float32(body.half_mm[0]))) ** np.float32(POWER)
        depth = (y - np.float32(CENTRE_Y_MM)) / (narrowing * np.float32(body.half_mm[1]))
        self._v = np.abs(depth) ** np.float32(POWER)
        self._behind = depth > 0

    def level(self, side_mm: float, front_mm: float, back_mm: float) -> Field:
        """Return a field below 1 within the outline moved outwards by so much."""
        half_x, half_y = self._half
        by_side = np.float32((half_x / (half_x + side_mm)) ** POWER)
        by_front = np.float32((half_y / (half_y + front_mm)) ** POWER)
        by_back = np.float32((half_y / (half_y + back_mm)) ** POWER)
        return by_side * self._u + np.where(self._behind, by_back, by_front) * self._v


def _paint_chest(
    body: Body, points: Points, tissues: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> None:
    """Paint what lies above the diaphragm: its muscle, the lungs, the heart between them."""
    high = points[2].max(axis=(1, 2)) > 15.0
    if not high.any():
        return
    x, y, z = (axis[high] for axis in points)
    right, left, middle = body.diaphragm_mm
    domes = (
        ellipsoid((-62.0, -32.0, 15.0), (80.0, 100.0, right - 15.0), power=2.4),
        ellipsoid((64.0, -28.0, 15.0), (78.0, 98.0, left - 15.0), power=2.4),
        ellipsoid((0.0, -48.0, 15.0), (85.0, 88.0, middle - 15.0)),
    )
    level = np.minimum.reduce([dome.level((x, y, z)) for dome in domes])
    above = (level > 1.0) & (z > 15.0) & inside[high]
    heart = ellipsoid((22.0, -82.0, middle + 38.0), (62.0, 50.0, 42.0), (0.0, 20.0, 20.0))
    middle_fat = (((x - 4.0) / 34.0) ** 2 + ((y - _spine_y_mm(z) + 25.0) / 52.0) ** 2) < 1.0
    block = tissues[high]
    block[above] = TISSUE_ID["muscle"]
    block[above & (level > 1.035)] = TISSUE_ID["lung"]
    block[above & (middle_fat | (np.abs(x - 3.0) < 7.0))] = TISSUE_ID["fat"]
    beat = heart.level((x, y, z))
    block[above & (beat < 1.0)] = TISSUE_ID["myocardium"]
    block[above & (beat < 0.85)] = TISSUE_ID["blood"]
    tissues[high] = block


def _paint_ribs(body: Body, points: Points, outline: _Outline, tissues: NDArray[np.uint8]) -> None:
    """Paint ribs into the middle of the wall: each runs down as it comes to the front."""
    x, y, z = points
    half = body.wall_mm / 2.0
    shell = (outline.level(1.0 - half, 1.0 - half, -half) > 1.0) & (
        outline.level(5.0 - half, 5.0 - half, 4.0 - half) < 1.0
    )
    # The rib cage ends in an arch that rises towards the breastbone.
    caged = z > np.where(y < -50.0, 92.0 - 0.62 * np.abs(x), 22.0 - 0.25 * (y + 50.0))
    height = np.mod(z + 0.42 * (70.0 - y) - body.rib_mm, RIB_MM)
    tissues[shell & caged & (height < 11.0)] = TISSUE_ID["marrow"]
    tissues[shell & caged & ((height < 2.5) | ((height > 8.5) & (height < 11.0)))] = TISSUE_ID[
        "cortex"
    ]


def _paint_back(points: Points, tissues: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Paint the muscles beside the spine: erector, psoas and quadratus lumborum."""
    x, y, z = points
    near = np.flatnonzero((y > -50.0).any(axis=(0, 2)))
    if near.size == 0:
        return
    rows = np.s_[:, near[0] : near[-1] + 1]
    x, y, z, tissues, inside = x[rows], y[rows], z[rows], tissues[rows], inside[rows]
    side, y = np.abs(x), y - _spine_y_mm(z)
    growth = np.clip((45.0 - z) / 130.0, 0.05, 1.0)
    psoas = ((side - 30.0 - 14.0 * growth) / (6.0 + 17.0 * growth)) ** 2 + (
        (y + 6.0) / (8.0 + 15.0 * growth)
    ) ** 2
    erector = ((side - 36.0) / 36.0) ** 2 + ((y - 52.0) / 28.0) ** 2
    quadratus = ((side - 68.0) / 20.0) ** 2 + ((y - 30.0) / 10.0) ** 2 + (z > 25.0)
    muscle = (psoas < 1.0) & (z < 40.0) | (erector < 1.0) | (quadratus < 1.0)
    tissues[muscle & inside] = TISSUE_ID["muscle"]


def _paint_spine(body: Body, points: Points, tissues: NDArray[np.uint8]) -> None:
    """Paint vertebrae and discs along the spine's curve."""
    near = np.flatnonzero((np.abs(points[0]) < 42.0).any(axis=(0, 1)))
    if near.size == 0:
        return
    column = (..., slice(near[0], near[-1] + 1))
    x, y, z = (axis[column] for axis in points)
    y, tissues = y - _spine_y_mm(z), tissues[column]
    height = np.mod(z - body.vertebra_mm, VERTEBRA_MM) / VERTEBRA_MM
    disc = height > 0.76
    trunk = np.sqrt((x / 23.0) ** 2 + ((y + 11.0) / 17.0) ** 2)
    tissues[trunk < 1.0] = TISSUE_ID["disc"]
    tissues[(trunk < 1.0) & ~disc] = TISSUE_ID["cortex"]
    inner = (height > 0.07) & (height < 0.69)
    tissues[(trunk < 0.88) & inner] = TISSUE_ID["marrow"]
    canal = np.sqrt((x / 10.0) ** 2 + ((y - 14.0) / 9.0) ** 2)
    arch = (canal < 1.55) & (trunk > 1.0) & (height > 0.1) & (height < 0.75)
    spinous = (np.abs(x) < 4.0) & (y > 24.0) & (y < 56.0) & (height < 0.62)
    transverse = (np.abs(y - 10.0) < 4.0) & (np.abs(x) < 34.0) & (height > 0.3) & (height < 0.5)
    tissues[transverse & (trunk > 1.0)] = TISSUE_ID["marrow"]
    tissues[arch | spinous] = TISSUE_ID["cortex"]
    tissues[canal < 1.0] = TISSUE_ID["disc"]


def _spine_y_mm(z: Field) -> Field:
    """Return how far back the spine lies at a height: the lumbar lordosis."""
    return as_field(np.float32(0.15) * z + np.float32(0.0012) * z * z)
