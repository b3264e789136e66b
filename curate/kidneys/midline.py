"""The body's midline, which parts the patient's left from the right in the LPS frame."""

from dataclasses import dataclass

import cc3d
import numpy as np

from curate.kidneys.voxels import positions_mm_of, x_mm_of
from manifests.volumes.downsampling import subsample
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

LEFT, RIGHT, UNDECIDED = 1, 2, 3

BODY_HU = -300.0
BODY_STEP_MM = 4.0
BODY_MARGIN_MM = 15.0  # a side is named beyond this distance from the body's midline,
IMAGE_MARGIN_MM = 30.0  # and beyond this one from the image's middle: patients lie 20 mm off it


@dataclass(frozen=True)
class Midline:
    """The sagittal plane that parts left from right, as far as it is known.

    Attributes:
        x_mm: Its position, LPS.
        margin_mm: Nearer than this to it, no side is named.
        source: Where it comes from: "body's midline" or "image's middle".
    """

    x_mm: float
    margin_mm: float
    source: str

    def place(self, x_mm: float) -> str:
        """Say where a position lies, for a person to read."""
        side = "left" if x_mm > self.x_mm else "right"
        return f"{abs(x_mm - self.x_mm):.0f} mm {side} of the {self.source}"

    def side(self, x_mm: float) -> int:
        """Name the side of a position: `LEFT`, `RIGHT` or, within the margin, `UNDECIDED`."""
        if abs(x_mm - self.x_mm) <= self.margin_mm:
            return UNDECIDED
        return LEFT if x_mm > self.x_mm else RIGHT


def find_midline(grid: Grid, part: Grid, image: Volume | None) -> Midline:
    """Find the midline: the median x of the body in the kidneys' slices, else the grid's middle."""
    x_mm = None if image is None else _body_x_mm(image, part)
    if x_mm is not None:
        return Midline(x_mm, BODY_MARGIN_MM, "body's midline")
    middle = grid.position_mm((np.asarray(grid.size_xyz) - 1) / 2)
    return Midline(float(middle[0]), IMAGE_MARGIN_MM, "image's middle")


def _body_x_mm(image: Volume, part: Grid) -> float | None:
    """Measure the median x of the largest thing denser than the body's edge, at `part`'s height."""
    coarse = subsample(image, BODY_STEP_MM)
    grid, dense = coarse.grid, coarse.voxels > BODY_HU
    middle_mm = part.position_mm((np.asarray(part.size_xyz) - 1) / 2)[2]
    reach_mm = abs(part.steps_mm[2]) @ part.size_xyz / 2
    dense[dense] = abs(positions_mm_of(dense, grid)[:, 2] - middle_mm) <= reach_mm
    body = np.asarray(cc3d.largest_k(dense, k=1)) > 0
    return float(np.median(x_mm_of(body, grid))) if body.any() else None
