"""A harmonised case on a coarse grid, where its labels are judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from manifests.classes.label_space import IGNORED
from manifests.volumes.downsampling import bin_means
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

STEP_MM = 3.0
EDGES_HU = (-200.0, 300.0)  # beyond these, lungs and bones would outweigh all other edges
SIGMA_MM = 1.5
TRUNCATE = 3.0  # standard deviations

Bool = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


class Part(NamedTuple):
    """Voxels within a box: `mask` [z, y, x] of the part `box` of an array."""

    box: Box
    mask: Bool


@dataclass(frozen=True)
class CoarseCase:
    """A case in voxels of about `STEP_MM`, axes along LPS.

    Attributes:
        hu: Means of the fine voxels, [z, y, x].
        ids: Class ids in the middles of these.
    """

    grid: Grid
    hu: NDArray[np.int16]
    ids: NDArray[np.uint8]

    @classmethod
    def of(cls, image: Volume, ids: NDArray[np.uint8]) -> "CoarseCase":
        """Look coarsely at a harmonised image (HU) and the class ids on its grid."""
        x, y, z = (
            min(max(1, round(STEP_MM / mm)), n)
            for mm, n in zip(image.grid.spacing_mm, image.grid.size_xyz, strict=True)
        )
        shrunk = bin_means(image, (x, y, z))
        within = tuple(slice(n) for n in shrunk.voxels.shape)
        return cls(shrunk.grid, shrunk.voxels, ids[z // 2 :: z, y // 2 :: y, x // 2 :: x][within])

    @property
    def mm_zyx(self) -> NDArray[np.float64]:
        """The size of a voxel."""
        return np.array(self.grid.spacing_mm[::-1])

    @cached_property
    def edges(self) -> NDArray[np.float32]:
        """The image that shows the edges of soft tissue: clipped and smoothed."""
        clipped = np.clip(self.hu, *EDGES_HU).astype(np.float32)
        smooth = ndimage.gaussian_filter(clipped, SIGMA_MM / self.mm_zyx, truncate=TRUNCATE)
        return np.asarray(smooth, np.float32)

    @cached_property
    def boxes(self) -> Mapping[int, Box]:
        """The box around each class that has a voxel."""
        found = enumerate(ndimage.find_objects(self.ids), start=1)
        return MappingProxyType({n: box for n, box in found if box})

    def borders_on_ignored(self, part: Part) -> bool:
        """Return whether a label ends where nobody looked any further."""
        if IGNORED not in self.boxes:
            return False
        around = tuple(
            slice(max(0, b.start - 1), min(b.stop + 1, n))
            for b, n in zip(part.box, self.ids.shape, strict=True)
        )
        wide = np.zeros([b.stop - b.start for b in around], np.bool_)
        inner = tuple(
            slice(b.start - a.start, b.stop - a.start)
            for b, a in zip(part.box, around, strict=True)
        )
        wide[inner] = part.mask
        grown = np.asarray(ndimage.binary_dilation(wide), np.bool_)
        return bool((grown & (self.ids[around] == IGNORED)).any())

    def part(self, classes: tuple[int, ...]) -> Part | None:
        """Return the voxels of some classes together; None if there is none."""
        boxes = [self.boxes[n] for n in classes if n in self.boxes]
        if not boxes:
            return None
        z, y, x = (
            slice(min(b.start for b in along), max(b.stop for b in along))
            for along in zip(*boxes, strict=True)
        )
        return Part((z, y, x), np.isin(self.ids[z, y, x], classes))
