"""The grid of a harmonised case: of the spacing that is wanted, or of the scan's own voxels."""

from dataclasses import replace

from curate.cases.target import NATIVE, Target
from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.orientation import native_grid, upright
from manifests.volumes.volume import Volume


def placed(volume: Volume, target: Target) -> Volume:
    """Return a volume where it is taken to lie: upright if it hardly is not, for native voxels."""
    return replace(volume, grid=upright(volume.grid)) if target.spacing_mm == NATIVE else volume


def case_grid(source: Grid, target: Target) -> Grid:
    """Plan the grid of a case, given that of its scan.

    Raises:
        GeometryError: It would be too large.
    """
    if target.spacing_mm == NATIVE:
        return native_grid(source)
    return harmonised_grid(source, target.spacing_mm)
