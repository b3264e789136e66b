"""The slices of a scan as they are, before they are resampled to a grid with right angles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifests.volumes.grid import Grid
from manifests.volumes.readers.dicom_series import SeriesPlan

BEYOND = 1000  # slices before the first and behind the last, as far apart as those at the end


@dataclass(frozen=True)
class SliceGrid(Grid):
    """A stack of slices: index z is the number of one, and x and y are its pixels.

    `steps_mm` and `affine_lps` are right along x and y alone; the spacing along z is the mean.

    Attributes:
        offsets_mm: Of the first pixel of each slice from that of the first: along a row, along a
            column, and across the slices, where they grow.
    """

    offsets_mm: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of_plan(cls, plan: SeriesPlan, grid: Grid) -> "SliceGrid":
        """Return the slices that a grid of right angles was resampled from."""
        x_mm, y_mm, _ = grid.spacing_mm
        i, j, k = plan.layers.origin_mm.tolist()
        return cls(
            (*plan.slices[0].size_xy, len(plan.slices)),
            (x_mm, y_mm, plan.layers.mean_step_mm),
            (i, j, k),
            grid.direction_lps,
            tuple(map(tuple, plan.layers.offsets_mm.tolist())),
        )

    def index_xyz(self, position_mm: ArrayLike) -> NDArray[np.float64]:
        """Send positions [..., 3] (mm, LPS) to fractional indices [..., 3]."""
        index = super().index_xyz(position_mm)
        known = np.array(self.offsets_mm)
        low, high = BEYOND * (known[1] - known[0]), BEYOND * (known[-1] - known[-2])
        x, y, z = np.concatenate([[known[0] - low], known, [known[-1] + high]]).T
        last = len(known) - 1
        depth = index[..., 2] * self.spacing_mm[2]
        index[..., 0] -= np.interp(depth, z, x) / self.spacing_mm[0]
        index[..., 1] -= np.interp(depth, z, y) / self.spacing_mm[1]
        index[..., 2] = np.interp(depth, z, [-BEYOND, *range(last + 1), last + BEYOND])
        return index
