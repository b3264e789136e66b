"""Where the voxels of a mask lie, in LPS millimetres."""

import numpy as np
from numpy.typing import NDArray

from manifests.volumes.grid import Grid

Bool = NDArray[np.bool_]


def x_mm_of(mask: Bool, grid: Grid) -> NDArray[np.float64]:
    """Positions [n] along x of a mask's voxels; faster than all three of `positions_mm_of`."""
    z, y, x = np.nonzero(mask)
    along_x, along_y, along_z = grid.steps_mm[0]
    return x * along_x + y * along_y + z * along_z + grid.origin_mm[0]


def positions_mm_of(mask: Bool, grid: Grid) -> NDArray[np.float64]:
    """Positions [n, 3] of a mask's voxels."""
    return grid.position_mm(np.argwhere(mask)[:, ::-1])
