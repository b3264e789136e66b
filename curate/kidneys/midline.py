"""The body's midline, which parts the patient's left from the right in the LPS frame."""

from dataclasses import dataclass

import cc3d
import numpy as np

from curate.kidneys.run_length import RunLengthMask
from manifests.volumes.downsampling import subsample
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
        x_mm: LPS.
        margin_mm: Nearer than this to it, no side is named.
        source: "body's midline" or "image's middle".
    """

    x_mm: float
    margin_mm: float
    source: str

    def describe(self, x_mm: float) -> str:
        """Say where a position lies, for a person to read."""
        side = "left" if x_mm > self.x_mm else "right"
        return f"{abs(x_mm - self.x_mm):.0f} mm {side} of the {self.source}"

    def side(self, x_mm: float) -> int:
        """Return the side of a position: `LEFT`, `RIGHT` or, within the margin, `UNDECIDED`."""
        if abs(x_mm - self.x_mm) <= self.margin_mm:
            return UNDECIDED
        return LEFT if x_mm > self.x_mm else RIGHT


def find_midline(kidneys: RunLengthMask, image: Volume | None) -> Midline:
    """Find the midline: the median x of the body in the kidneys' slices, else the grid's middle."""
    x_mm = None if image is None else _body_x_mm(image, kidneys)
    if x_mm is not None:
        return Midline(x_mm, BODY_MARGIN_MM, "body's midline")
    grid = kidneys.grid
    middle_mm = grid.position_mm((np.asarray(grid.size_xyz) - 1) / 2)
    return Midline(float(middle_mm[0]), IMAGE_MARGIN_MM, "image's middle")


def _body_x_mm(image: Volume, kidneys: RunLengthMask) -> float | None:
    """Return the median x of the largest thing denser than the body's edge, at their height."""
    low, high = kidneys.box_xyz
    middle_mm = kidneys.grid.position_mm((low + high - 1) / 2)[2]
    reach_mm = abs(kidneys.grid.steps_mm[2]) @ (high - low) / 2
    coarse = subsample(image, BODY_STEP_MM)
    dense = coarse.voxels > BODY_HU
    position_mm = coarse.grid.position_mm(np.argwhere(dense)[:, ::-1])
    near = abs(position_mm[:, 2] - middle_mm) <= reach_mm
    dense[dense] = near
    body = np.asarray(cc3d.largest_k(dense, k=1)) > 0
    return float(np.median(position_mm[near, 0][body[dense]])) if body.any() else None
