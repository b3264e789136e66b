"""The phantom: a patient drawn from a generator, and what CT and anatomy show on any grid.

Anatomical coordinates are millimetres along LPS from the second lumbar vertebra of an average
adult. A patient is solids in these coordinates, and the way from the scanner's LPS frame to them:
a turn, a stretch and a smooth warp. So one patient can be sampled on any grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.phantom.body import Body, draw_body, paint_body
from curate.phantom.canvas import Canvas, Frame, Wave, wave_sum
from curate.phantom.hollow_organs import (
    draw_colon,
    draw_esophagus,
    draw_small_bowel,
    draw_stomach,
    draw_vessels,
)
from curate.phantom.lookalikes import draw_lookalikes
from curate.phantom.shapes import Field, TissueRegion, as_matrix, as_vector, rotation
from curate.phantom.solid_organs import (
    TumourChance,
    draw_adrenal,
    draw_gallbladder,
    draw_kidney,
    draw_liver,
    draw_pancreas,
    draw_spleen,
)
from curate.phantom.tissues import STRUCTURES, TISSUES, structure_lookup
from manifests.volumes.grid import Grid

__all__ = ["STRUCTURES", "Patient", "TumourChance", "draw_patient", "render"]

UNENHANCED, PORTAL_VENOUS = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
ENHANCEMENT_SD = 0.2  # between patients, as hearts and doses differ


@dataclass(frozen=True)
class Patient:
    """All that there is to know of a patient.

    Attributes:
        regions: Organs, tumours, gut and vessels, in the order of painting.
        texture: Unevenness within a tissue: the product of two sums of waves of unit variance.
        hu_shift: Of each tissue, against the average patient's Hounsfield units.
        enhancement: How much the contrast agent adds, as a fraction of the average patient's.
    """

    frame: Frame
    body: Body
    regions: tuple[TissueRegion, ...]
    texture: tuple[tuple[Wave, ...], tuple[Wave, ...]]
    hu_shift: tuple[float, ...]
    enhancement: float


def draw_patient(rng: np.random.Generator, *, tumour_chance: TumourChance | None = None) -> Patient:
    """Draw a patient; the same state of the generator gives the same one."""
    return Patient(
        frame=_draw_frame(rng),
        body=draw_body(rng),
        regions=_draw_regions(rng, tumour_chance or TumourChance()),
        texture=(_draw_texture(rng), _draw_texture(rng)),
        hu_shift=tuple(float(rng.normal(0.0, tissue.spread_hu)) for tissue in TISSUES),
        enhancement=float(np.clip(rng.normal(1.0, ENHANCEMENT_SD), 0.5, 1.5)),
    )


def render(
    patient: Patient, grid: Grid, *, contrast: tuple[float, float, float] = PORTAL_VENOUS
) -> tuple[Field, NDArray[np.uint8]]:
    """Sample a patient at the centres of a grid's voxels.

    Args:
        patient: As drawn by `draw_patient`.
        grid: Any grid in the scanner's LPS frame.
        contrast: Shares of the phases none, arterial and portal venous.

    Returns:
        Hounsfield units without noise (float32), and structure ids (uint8: 1 + the place in
        `STRUCTURES`, 0 for none); both are [z, y, x].
    """
    canvas = Canvas(patient.frame, grid)
    paint_body(patient.body, canvas.points, canvas.tissues)
    for region in patient.regions:
        canvas.paint(region)
    plain, seen = (np.array([np.dot(c, t.hu) for t in TISSUES]) for c in (UNENHANCED, contrast))
    base = plain + patient.enhancement * (seen - plain) + patient.hu_shift
    rough = np.array([tissue.texture_hu for tissue in TISSUES])
    texture = wave_sum(patient.texture[0], grid) * wave_sum(patient.texture[1], grid)
    hu = base.astype(np.float32)[canvas.tissues]
    hu += rough.astype(np.float32)[canvas.tissues] * texture
    return hu, structure_lookup()[canvas.tissues]


def _draw_frame(rng: np.random.Generator) -> Frame:
    """Draw size, shift, turn and a warp whose waves of 15 to 40 cm are too gentle to fold."""
    sizes = np.exp(rng.normal(0.0, 0.045) + rng.normal(0.0, 0.025, 3))
    turned = rotation(as_vector(rng.normal(0.0, (2.0, 2.0, 3.5)))) @ np.diag(sizes)
    x, y, z = (
        tuple(_draw_wave(rng, (150.0, 400.0), float(rng.normal(0.0, 2.6))) for _ in range(4))
        for _ in range(3)
    )
    return Frame(
        to_anatomy=as_matrix(np.linalg.inv(turned)),
        shift_mm=as_vector(rng.normal(0.0, (5.0, 5.0, 4.0))),
        warp=(x, y, z),
    )


def _draw_texture(rng: np.random.Generator) -> tuple[Wave, ...]:
    count = 5
    return tuple(_draw_wave(rng, (12.0, 40.0), float(np.sqrt(2.0 / count))) for _ in range(count))


def _draw_wave(rng: np.random.Generator, lengths_mm: tuple[float, float], amplitude: float) -> Wave:
    ray = rng.normal(size=3)
    ray *= 2.0 * np.pi / rng.uniform(*lengths_mm) / np.linalg.norm(ray)
    return Wave(as_vector(ray), float(rng.uniform(0.0, 2.0 * np.pi)), amplitude)


def _draw_regions(rng: np.random.Generator, chance: TumourChance) -> tuple[TissueRegion, ...]:
    """Draw all organs in the order that settles who wins where two would overlap."""
    sick_side = rng.choice(["left", "right"]) if rng.random() < chance.kidney else "neither"
    left, left_tumour = draw_kidney(rng, "left", with_tumour=sick_side == "left")
    right, right_tumour = draw_kidney(rng, "right", with_tumour=sick_side == "right")
    return (
        *draw_small_bowel(rng),
        *draw_colon(rng),
        *draw_liver(rng, tumour_chance=chance.liver),
        *draw_spleen(rng),
        *draw_stomach(rng),
        *left,
        *right,
        *draw_pancreas(rng, tumour_chance=chance.pancreas),
        *draw_gallbladder(rng),
        *draw_vessels(rng),
        *draw_esophagus(rng),
        *draw_adrenal(rng, "left"),
        *draw_adrenal(rng, "right"),
        *left_tumour,
        *right_tumour,
        *draw_lookalikes(rng),
    )
