"""Pieces: the connected components of a kidney mask, before and after they have sides."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.kidneys.fragments import Sides
from curate.kidneys.fused import KIDNEY_ML
from curate.kidneys.runs import Floats, Runs, components_of
from manifests.ground.findings import Finding


@dataclass(frozen=True)
class Pieces:
    """The connected components of a mask.

    Attributes:
        runs: The voxels.
        piece: The component that each run belongs to, from 0.
        volume_ml: Volume of each component.
        x_mm: Centroid of each component along LPS x.
    """

    runs: Runs
    piece: NDArray[np.int32]
    volume_ml: Floats
    x_mm: Floats

    @classmethod
    def of(cls, runs: Runs) -> "Pieces":
        """Find the components, by voxels that touch at least at a corner."""
        piece = components_of(runs)
        voxels: Floats = np.bincount(piece, runs.length).astype(np.float64)
        middle_mm = runs.position_mm((runs.start + runs.stop - 1) / 2)[:, 0]
        x_mm = np.bincount(piece, runs.length * middle_mm) / voxels
        return cls(runs, piece, voxels * runs.grid.voxel_ml, x_mm)

    @property
    def first(self) -> int:
        """The largest component."""
        return int(np.argmax(self.volume_ml))

    @property
    def mains(self) -> NDArray[np.intp]:
        """The components that are large enough for a kidney, or else the largest one."""
        mains = np.flatnonzero(self.volume_ml >= KIDNEY_ML)
        return mains if mains.size else np.array([self.first])

    def component(self, number: int) -> Runs:
        """The runs of one component."""
        return self.runs[self.piece == number]


@dataclass(frozen=True)
class Sided:
    """Main kidneys with sides, before the fragments join them.

    Attributes:
        runs: The voxels; a cut makes two runs of one.
        piece: The component that each run belongs to.
        side: The side of each run; 0 where it belongs to a fragment.
        method: As in `KidneySplit`.
        findings: What was seen.
    """

    runs: Runs
    piece: NDArray[np.int32]
    side: Sides
    method: str
    findings: tuple[Finding, ...] = ()

    @classmethod
    def by_piece(cls, pieces: Pieces, sides: Sides, method: str, *findings: Finding) -> "Sided":
        """Give every component its side."""
        return cls(pieces.runs, pieces.piece, sides[pieces.piece], method, findings)
