"""Repetition: a scan that shows the same part of the body twice, one acquisition on the other."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.anatomy.torso import STEP_MM, Torso
from manifests.ground.findings import Finding

CODE = "scan_repeated"
TISSUE_HU = (-200.0, 300.0)
IN_PLANE = 2  # every so many voxels of the torso
LEAST_COMMON_MM = 60.0
ALIKE = 0.4  # mean correlation of slices that show the same; elsewhere it is about 0
PEAK = 0.15  # by which it is above that of shifts 20 mm to either side
PEAK_MM = 20.0
SEAM = 0.25  # by which the slices at a seam are less alike than neighbours usually are


@dataclass(frozen=True)
class Repetition:
    """A second time that the image shows the body, towards the head.

    Attributes:
        shift_mm: From what is shown the first time to the same the second time.
        seam_mm: Where the second one begins, LPS z.
        correlation: Mean over the slices that are shown twice.
    """

    shift_mm: float
    seam_mm: float
    correlation: float


def find_repetition(torso: Torso) -> Repetition | None:
    """Find whether a scan shows itself twice along the body; None if it does not.

    Slices are compared without what all of them have in common, such as the body's outline. The
    body changes from slice to slice, and a shift that makes all slices alike is a sharp peak; legs
    are alike at many shifts. Where the second acquisition begins, neighbours differ.
    """
    alike = _correlations(torso)
    size, least = len(alike), round(LEAST_COMMON_MM / STEP_MM)
    if size < 2 * least:
        return None
    neighbours = np.diagonal(alike, 1)
    seam = least + int(neighbours[least - 1 : size - least].argmin())
    across = alike[:seam, seam:]  # those before the seam with those behind it
    shifts = np.arange(least, size - least + 1)
    by_shift = np.array([_mean(across, int(n) - seam, least) for n in shifts])
    best = int(by_shift.argmax())
    aside = round(PEAK_MM / STEP_MM)
    beside = [by_shift[n] for n in (best - aside, best + aside) if 0 <= n < len(shifts)]
    if (
        by_shift[best] < ALIKE
        or by_shift[best] - max(beside, default=0.0) < PEAK
        or np.median(neighbours) - neighbours[seam - 1] < SEAM
    ):
        return None
    shift = int(shifts[best])
    seam_mm = float(torso.grid.position_mm((0, 0, _seam(alike, shift) - 0.5))[2])
    return Repetition(STEP_MM * shift, seam_mm, float(by_shift[best]))


def _seam(alike: NDArray[np.float32], shift: int) -> int:
    """Return the first slice of the second time: all that is shown twice lies on both its sides."""
    shown_twice = np.flatnonzero(np.diagonal(alike, shift) > ALIKE)
    first, last = int(shown_twice[-1]) + 1, int(shown_twice[0]) + shift
    if last < first:  # slices that are alike by chance
        return shift
    return first + int(np.diagonal(alike, 1)[first - 1 : last].argmin())


def _mean(across: NDArray[np.float32], offset: int, least: int) -> float:
    pairs = np.diagonal(across, offset)
    return float(pairs.mean()) if len(pairs) >= least else -1.0


def repetition_finding(repetition: Repetition, labels: str = "") -> Finding:
    """Return the finding, with what is to be said of the labels."""
    reason = (
        f"the image shows itself twice, shifted by {repetition.shift_mm:.0f} mm towards the head "
        f"(correlation {repetition.correlation:.2f}); the second time begins at z "
        f"{repetition.seam_mm:.0f} mm (LPS){labels}"
    )
    return Finding(CODE, reason)


def _correlations(torso: Torso) -> NDArray[np.float32]:
    """Return the correlation of each two slices, without the mean of all slices."""
    hu = np.where(torso.body, np.clip(torso.hu, *TISSUE_HU), TISSUE_HU[0])
    slices = hu[:, ::IN_PLANE, ::IN_PLANE].reshape(len(hu), -1).astype(np.float32)
    slices -= slices.mean(axis=0)
    slices -= slices.mean(axis=1, keepdims=True)
    slices /= np.maximum(np.linalg.norm(slices, axis=1, keepdims=True), 1e-6)
    return slices @ slices.T
