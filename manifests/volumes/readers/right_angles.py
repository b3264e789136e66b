"""Right angles: axes that are nearly orthogonal are made so, in every format by one rule."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid

SKEW_TOLERANCE = 0.01  # cosine; at 20 cm from the centre, 2 mm
ROUNDING = 1e-4  # cosine; what single precision leaves of right angles

FloatArray = NDArray[np.float64]


def at_right_angles(
    affine_lps: FloatArray, size_xyz: tuple[int, int, int], path: Path
) -> tuple[Grid, list[Finding]]:
    """Return the grid of a 4 x 4 affine, its axes replaced by the nearest rotation or mirror.

    Raises:
        SetAsideError: An axis is off the nearest by more than `SKEW_TOLERANCE`.
        GeometryError: The affine makes no sense.
    """
    spacing_mm = np.linalg.norm(affine_lps[:3, :3], axis=0)
    unusable = not np.isfinite(affine_lps).all() or not spacing_mm.all()
    cosines = np.eye(3) if unusable else affine_lps[:3, :3] / spacing_mm
    nearest = _nearest_right_angles(cosines)
    skew = float(np.abs(nearest - cosines).max())
    if skew > SKEW_TOLERANCE:
        reason = (
            f"{path}: the axes are off right angles by {skew:.3g}, more than {SKEW_TOLERANCE} "
            f"(a tilted gantry?); give the DICOM series, or resample it to right angles"
        )
        raise SetAsideError(Finding("geometry_invalid", reason))
    x, y, z = spacing_mm.tolist()
    i, j, k = affine_lps[:3, 3].tolist()
    direction = tuple(nearest.ravel().tolist())
    reason = f"off right angles by {skew:.2g} (cosine)"
    findings = [Finding("axes_skewed", reason)] if skew > ROUNDING else []
    return Grid(size_xyz, (x, y, z), (i, j, k), direction), findings


def _nearest_right_angles(cosines: FloatArray) -> FloatArray:
    if np.allclose(cosines, np.rint(cosines), rtol=0, atol=1e-6):
        return np.rint(cosines)
    left, _, right = np.linalg.svd(cosines)
    return left @ right
