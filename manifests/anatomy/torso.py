"""The torso in a CT: a coarse look at the body, and where its spine is."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from dataclasses import dataclass
from functools import cached_property

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, regionprops
from skimage.segmentation import clear_border

from manifests.volumes.downsampling import bin_means, every_nth, steps_within
from manifests.volumes.grid import IDENTITY, MM3_PER_ML, Grid
from manifests.volumes.orientation import closest_permutation, reorient
from manifests.volumes.resampling.resampling import resample_image
from manifests.volumes.volume import Volume

STEP_MM = 4.0
VOXEL_ML = STEP_MM**3 / MM3_PER_ML
AIR_HU = -800.0
GAS_HU = -500.0
LUNG_ABOVE_AIR_HU = 90.0  # gut holds air, lungs hold more
LUNG_ML = 10.0
BODY_HU = -300.0
BONE_HU = 300.0  # of the cortex; vessels and kidneys seldom take up so much contrast medium
BLUR_MM = 12.0
WINDOW = 10  # slices: a vertebra's height
# The spine is near the body's middle, unless the patient lies on a side or is bent, ...
MIDDLE_MM = 45.0
# ... is neither hardly there nor solid, as a heart or gut full of contrast medium are, ...
SPINE_SHARE = (0.04, 0.45)
# ... and nothing as dense is near it, as hips, shoulders and gut are; arms are farther off.
APART_MM = (56.0, 140.0)
APART_SHARE = 0.4

Bool = NDArray[np.bool_]
IN_PLANE = np.zeros((3, 3, 3), np.bool_)
IN_PLANE[1, 1, :] = IN_PLANE[1, :, 1] = True


@dataclass(frozen=True)
class Spine:
    """Where the spine is.

    Attributes:
        position_mm: Its middle, LPS.
        column: Where that is along the first axis of the torso's grid.
        behind_middle: How far it is behind the middle of the body, as a share of the body's depth;
            None where the image cuts the body's front or back.
    """

    position_mm: tuple[float, float, float]
    column: float
    behind_middle: float | None


@dataclass(frozen=True)
class Torso:
    """A CT on a coarse grid.

    Attributes:
        grid: Voxels of `STEP_MM`; the array axes are those of the image that are nearest to LPS.
        hu: Hounsfield units, [z, y, x].
        body: The body with all that it encloses, and arms that touch it.
    """

    grid: Grid
    hu: NDArray[np.int16]
    body: Bool

    @cached_property
    def windows(self) -> list[slice]:
        """Stacks of about `WINDOW` slices from foot to head, without those that hold no body."""
        parts = np.array_split(np.arange(len(self.hu)), max(1, round(len(self.hu) / WINDOW)))
        slices = [slice(int(p[0]), int(p[-1]) + 1) for p in parts]
        return [s for s in slices if self.body[s].any()]

    @cached_property
    def lungs(self) -> Bool:
        """The lungs: what holds gas, but not air alone as gut does."""
        lungs = np.zeros_like(self.body)
        if self.body.all():
            return lungs
        limit_hu = np.median(self.hu[~self.body]) + LUNG_ABOVE_AIR_HU
        gas = (self.hu < GAS_HU) & self.body
        for part in regionprops(label(gas, connectivity=1), self.hu):
            if part.area * VOXEL_ML < LUNG_ML:
                continue
            core_hu = part.image_intensity[ndimage.binary_erosion(part.image, IN_PLANE)]
            if core_hu.size and np.median(core_hu) > limit_hu:
                lungs[part.slice] |= part.image
        return lungs

    @cached_property
    def spine(self) -> Spine | None:
        """The spine, unless it is nowhere seen apart from other bones."""
        seen = [view for window in self.windows if (view := _spine_in(self, window))]
        if not seen:
            return None
        x, y, z = np.median([place for place, _ in seen], axis=0)
        shares = [share for _, share in seen if share is not None]
        behind = float(np.median(shares)) if shares else None
        return Spine(tuple(self.grid.position_mm((x, y, z)).tolist()), float(x), behind)


def find_torso(image: Volume) -> Torso | None:
    """Look coarsely at a CT (HU); None if it shows no body in air."""
    shrunk = _shrunk(image)
    shrunk = reorient(shrunk, closest_permutation(IDENTITY, shrunk.grid))
    grid = _coarse_grid(shrunk.grid)
    hu = resample_image(shrunk, grid).voxels
    if np.percentile(hu, 1) > AIR_HU:  # not Hounsfield units, or all inside a body
        return None
    body = _body(hu)
    return Torso(grid, hu, body) if body.any() else None


def _shrunk(image: Volume) -> Volume:
    """Average an image in two dimensions and skip along the third, which is faster by far."""
    x, y, z = steps_within(STEP_MM, image.grid)
    return bin_means(every_nth(image, (1, 1, z)), (x, y, 1))


def _coarse_grid(fine: Grid) -> Grid:
    """Cover a grid from edge to edge, along its own axes: a tilted slab stays a slab."""
    size_mm = np.multiply(fine.size_xyz, fine.spacing_mm)
    x, y, z = (max(1, round(float(n))) for n in size_mm / STEP_MM)
    to_first = (size_mm / STEP_MM - (x, y, z)) / 2 + 0.5  # in coarse voxels, from the outer corner
    origin_mm = fine.position_mm(to_first * STEP_MM / fine.spacing_mm - 0.5)
    spacing_mm = (STEP_MM, STEP_MM, STEP_MM)
    return Grid((x, y, z), spacing_mm, tuple(origin_mm.tolist()), fine.direction_lps)


def _body(hu: NDArray[np.int16]) -> Bool:
    """Find the largest dense thing, without what is as thin as a table, and fill it in plane."""
    dense = hu > BODY_HU
    thick = ndimage.binary_erosion(dense, IN_PLANE, border_value=1)
    largest = cc3d.largest_k(thick, k=1, connectivity=6) > 0
    body = np.asarray(ndimage.binary_dilation(largest, IN_PLANE, 2), np.bool_) & dense
    enclosed = [clear_border(label(~section, connectivity=1)) > 0 for section in body]
    return body | np.stack(enclosed)


def _spine_in(torso: Torso, window: slice) -> tuple[tuple[float, ...], float | None] | None:
    """Find the spine in a window: its index (x, y, z) and its share of depth behind the middle."""
    body = torso.body[window]
    density = ((torso.hu[window] > BONE_HU) & body).mean(axis=0)
    density = ndimage.gaussian_filter(density, BLUR_MM / STEP_MM)
    rows, columns = np.indices(density.shape, np.float32)
    central = STEP_MM * abs(columns - np.median(np.nonzero(body)[2])) <= MIDDLE_MM
    y, x = np.unravel_index(int((density * central).argmax()), density.shape)
    beside_mm = STEP_MM * abs(columns - x)
    far = (np.hypot(beside_mm, STEP_MM * (rows - y)) > APART_MM[0]) & (beside_mm < APART_MM[1])
    rival = density[far].max(initial=0.0)
    if not SPINE_SHARE[0] < density[y, x] < SPINE_SHARE[1] or rival > APART_SHARE * density[y, x]:
        return None
    near = body[:, :, beside_mm[0] < APART_MM[0]].any(axis=2).mean(axis=0) > 0.5
    depth = np.flatnonzero(near)
    cut = depth.size < 2 or depth[0] == 0 or depth[-1] == len(near) - 1
    share = None if cut else float((y - depth[0]) / (depth[-1] - depth[0]) - 0.5)
    return (float(x), float(y), (window.start + window.stop - 1) / 2), share
