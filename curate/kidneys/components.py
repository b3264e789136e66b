"""Connected components of a kidney mask, before and after they have sides."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from curate.kidneys.fragments import Sides
from curate.kidneys.renal_fusion import KIDNEY_ML
from curate.kidneys.run_length import Floats, RunLengthMask
from manifests.ground.findings import Finding


@dataclass(frozen=True)
class Components:
    """The 26-connected components of a mask.

    Attributes:
        of_run: The component that each run belongs to, from 0.
        x_mm: Centroid of each component along LPS x.
    """

    mask: RunLengthMask
    of_run: NDArray[np.int32]
    volume_ml: Floats
    x_mm: Floats

    @classmethod
    def of(cls, mask: RunLengthMask) -> Self:
        """Find the components of a mask."""
        of_run = mask.components()
        voxels: Floats = np.bincount(of_run, mask.length).astype(np.float64)
        middle_mm = mask.position_mm((mask.start + mask.stop - 1) / 2)[:, 0]
        x_mm = np.bincount(of_run, mask.length * middle_mm) / voxels
        return cls(mask, of_run, voxels * mask.grid.voxel_ml, x_mm)

    @property
    def largest(self) -> int:
        """Number of the largest component."""
        return int(np.argmax(self.volume_ml))

    @property
    def kidneys(self) -> NDArray[np.intp]:
        """The components that are large enough for a kidney, or else the largest one."""
        kidneys = np.flatnonzero(self.volume_ml >= KIDNEY_ML)
        return kidneys if kidneys.size else np.array([self.largest])

    def part(self, *numbers: int) -> RunLengthMask:
        """Return the voxels of some components."""
        return self.mask[np.isin(self.of_run, numbers)]


@dataclass(frozen=True)
class SidedKidneys:
    """Kidneys with sides, before the fragments join them.

    Attributes:
        mask: The voxels; a cut makes two runs of one.
        component: The component that each run belongs to.
        side: Of each run; 0 where it belongs to a fragment.
        method: As in `KidneySplit`.
    """

    mask: RunLengthMask
    component: NDArray[np.int32]
    side: Sides
    method: str
    findings: tuple[Finding, ...] = ()
