"""The grid of a volume: where its voxels lie, and how a volume is brought onto another grid.

Every position is in the LPS frame of DICOM and ITK, in mm: x grows to the patient's left, y to the
back, z to the head. An index counts voxels along the array axes (x fastest), from the centre of the
first voxel; numpy arrays are in the order z, y, x.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from manifests.errors import GeometryError

AIR_HU = -1024.0
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
MAX_VOXELS = 2**31
EDGE_TOLERANCE = 1e-3  # voxels: a header rounds this much, and it is no reason for one more voxel
SLAB_VOXELS = 2**24

FloatArray = NDArray[np.float64]
ShareArray = NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        size_xyz: Voxels along each array axis.
        spacing_mm: Distance between neighbouring voxel centres along each array axis.
        origin_mm: Centre of the first voxel, LPS.
        direction_lps: Row-major 3 x 3 matrix; column j is the unit vector of array axis j, LPS.
    """

    size_xyz: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction_lps: tuple[float, ...] = IDENTITY

    def __post_init__(self) -> None:
        """Refuse a grid that makes no sense.

        Raises:
            GeometryError: A size below one voxel, a spacing that is not finite and positive, an
                origin that is not finite, or a direction that is not a rotation or mirror.
        """
        _require(
            len(self.size_xyz) == 3 and min(self.size_xyz) >= 1,
            f"size_xyz: expected three counts of at least 1 voxel, got {self.size_xyz}",
        )
        _check_spacing(self.spacing_mm)
        _require(
            len(self.origin_mm) == 3 and all(map(math.isfinite, self.origin_mm)),
            f"origin_mm: expected three finite numbers (mm, LPS), got {self.origin_mm}",
        )
        _require(
            len(self.direction_lps) == 9 and _orthonormal(self.direction_lps),
            f"direction_lps: expected nine cosines of orthogonal axes, got {self.direction_lps}",
        )

    @classmethod
    def of(cls, image: sitk.Image) -> "Grid":
        """Read the grid of a 3-D image with one value per voxel.

        Raises:
            GeometryError: The image has another number of dimensions or components, or its
                header makes no sense.
        """
        dimension, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
        _require(dimension == 3, f"expected a 3-D volume, got {dimension} dimensions")
        _require(components == 1, f"expected one value per voxel, got {components}")
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def steps_mm(self) -> FloatArray:
        """The 3 x 3 matrix whose column j is one index step along array axis j (mm, LPS)."""
        return np.asarray(self.direction_lps).reshape(3, 3) * np.asarray(self.spacing_mm)

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in mL."""
        return math.prod(self.spacing_mm) / 1000

    def position_mm(self, index_xyz: ArrayLike) -> FloatArray:
        """Send indices [..., 3], fractions allowed, to positions [..., 3] (mm, LPS)."""
        # integers or reversed columns, as from argwhere, make the product ten times slower
        index = np.asarray(index_xyz, dtype=np.float64, order="C")
        return index @ self.steps_mm.T + np.asarray(self.origin_mm)

    def index_xyz(self, position_mm: ArrayLike) -> FloatArray:
        """Send positions [..., 3] (mm, LPS) to fractional indices [..., 3]."""
        offset_mm = np.asarray(position_mm, dtype=np.float64) - np.asarray(self.origin_mm)
        return offset_mm @ np.linalg.inv(self.steps_mm).T

    def image(self, array_zyx: NDArray[np.generic]) -> sitk.Image:
        """Put an array of shape z, y, x on this grid (a copy)."""
        image = sitk.GetImageFromArray(array_zyx)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction_lps)
        return image

    def part(
        self, start_xyz: Sequence[int], stop_xyz: Sequence[int], factors_xyz: Sequence[int]
    ) -> "Grid":
        """Keep the voxels from start up to and without stop, each divided into equal parts."""
        factors = np.asarray(factors_xyz)
        x, y, z = (int(n) for n in (np.asarray(stop_xyz) - np.asarray(start_xyz)) * factors)
        return Grid(
            (x, y, z),
            _triple(np.asarray(self.spacing_mm) / factors),
            _triple(self.position_mm(np.asarray(start_xyz) + (1 / factors - 1) / 2)),
            self.direction_lps,
        )

    def covers(self, other: "Grid") -> NDArray[np.bool_]:
        """Tell which voxel centres of another grid lie within this grid's outer edges (z, y, x)."""
        x, y, z = other.size_xyz
        corners = self._holds(other.position_mm(list(product((0, x - 1), (0, y - 1), (0, z - 1)))))
        if corners.all():  # a box is convex
            return np.ones((z, y, x), dtype=np.bool_)
        return self._holds(
            other.position_mm(np.indices((z, y, x)).transpose(1, 2, 3, 0)[..., ::-1])
        )

    def _holds(self, position_mm: FloatArray) -> NDArray[np.bool_]:
        index, size = self.index_xyz(position_mm), np.asarray(self.size_xyz)
        return np.all(
            (index > -0.5 - EDGE_TOLERANCE) & (index < size - 0.5 + EDGE_TOLERANCE), axis=-1
        )


def harmonised_grid(source: Grid | sitk.Image, spacing_mm: tuple[float, float, float]) -> Grid:
    """Plan the grid of a harmonised case: axes along LPS, covering the source from edge to edge.

    The box around the source's outer voxel edges is filled with whole voxels; what they exceed it
    by (less than a voxel) is shared by both ends. Where the source's axes lie along LPS, in any
    order and either way, and its spacing is the wanted one, the voxels coincide.

    Args:
        source: The volume, or its grid.
        spacing_mm: The wanted spacing along LPS x, y and z.

    Raises:
        GeometryError: The spacing makes no sense, or the grid would hold 2^31 voxels or more.
    """
    grid = source if isinstance(source, Grid) else Grid.of(source)
    _check_spacing(spacing_mm)
    corners = grid.position_mm(list(product(*((-0.5, n - 0.5) for n in grid.size_xyz))))
    low, high, spacing = corners.min(axis=0), corners.max(axis=0), np.asarray(spacing_mm)
    size = np.maximum(np.ceil((high - low) / spacing - EDGE_TOLERANCE), 1)
    _require(
        math.prod(size) < MAX_VOXELS,
        f"a volume of {high - low} mm is too large for a grid of {spacing_mm} mm",
    )
    x, y, z = (int(n) for n in size)
    return Grid((x, y, z), _triple(spacing), _triple((low + high) / 2 - (size - 1) / 2 * spacing))


def orientation_code(source: Grid | sitk.Image) -> str:
    """Name which way each array axis points, such as "LPS" for an identity direction.

    An oblique axis is named after the nearest anatomical one, each name used once. The letters say
    where an axis points *to*, as in nibabel and SimpleITK.
    """
    grid = source if isinstance(source, Grid) else Grid.of(source)
    cosines = np.asarray(grid.direction_lps).reshape(3, 3)
    axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[j], j]) for j in range(3)))
    return "".join(
        ("LR", "PA", "SI")[axis][int(cosines[axis, j] < 0)] for j, axis in enumerate(axes)
    )


def resample_linear(image: sitk.Image, grid: Grid, *, outside: float = 0.0) -> sitk.Image:
    """Interpolate an image linearly (float32); voxels beyond its edges are `outside`."""
    Grid.of(image)
    return _sample(image, grid, outside)


def resample_image(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Interpolate a CT linearly (int16, HU, rounded and clipped); beyond its edges is air."""
    values = sitk.Round(resample_linear(image, grid, outside=AIR_HU))
    return sitk.Clamp(values, sitk.sitkInt16, -(2.0**15), 2.0**15 - 1)


def resample_label(label: sitk.Image, grid: Grid) -> sitk.Image:
    """Bring a label map (uint8) onto another grid so that each structure keeps its volume.

    Each structure's share of every voxel is measured (linear interpolation, averaged over the
    voxel), and the structure takes the voxels of its largest shares, as many as its volume fills.
    Small structures choose first, so none that fills a part of a voxel is lost. A structure that
    the source's edge cuts is continued to the edge of the voxels whose centres the source covers.

    Chosen by `tests/benchmarks/label_resampling.py` (to 1.5 x 1.5 x 3 mm; Dice and mean volume
    error of thin and of round shapes against the shapes themselves; shapes lost):

        from 0.8 x 0.8 x 1 mm   thin           round          lost
        nearest neighbour       0.701   14 %   0.881    6 %   1 of 168
        sitkLabelLinear         0.702   12 %   0.882    2 %   1 of 168
        this                    0.718    5 %   0.884    1 %   0 of 168
        the best possible       0.728    9 %   0.885    1 %
        from 0.8 x 0.8 x 5 mm
        nearest neighbour       0.640   16 %   0.807   12 %   1 of 152
        sitkLabelLinear         0.643   16 %   0.812   11 %   1 of 152
        this                    0.644   18 %   0.831   10 %   0 of 152

    From 3 x 3 x 3 mm the three agree, voxel by voxel. On 31 structures of a CT of 1 x 1 x 2 mm each
    has Dice 0.897, but the volume is off by 2.0 % here, by 2.7 % and 2.9 % there.

    Args:
        label: Class ids, 0 is background (uint8).
        grid: The grid to fill.

    Raises:
        TypeError: The label map is not of 8-bit unsigned integers.
    """
    Grid.of(label)
    if label.GetPixelID() != sitk.sitkUInt8:
        got = label.GetPixelIDTypeAsString()
        msg = f"expected class ids as 8-bit unsigned integers, got {got}; check them, then cast"
        raise TypeError(msg)
    view = sitk.GetArrayViewFromImage(label)
    boxes = {v: box for v, box in enumerate(ndimage.find_objects(view), start=1) if box}
    counts = {v: np.count_nonzero(view[box] == v) for v, box in boxes.items()}
    painted = np.zeros(grid.size_xyz[::-1], dtype=np.uint8)
    total, largest = np.zeros_like(painted, np.float32), np.zeros_like(painted, np.float32)
    favourite = np.zeros_like(painted)
    # the small go first: what a small structure claims is a trifle to a large one
    for value in sorted(boxes, key=lambda v: counts[v]):
        box, share = _share(label, value, boxes[value], grid)
        painted[box][_claim(share, painted[box] == 0)] = value
        total[box] += share
        ahead = share > largest[box]
        largest[box][ahead], favourite[box][ahead] = share[ahead], value
    # where structures meet, none may have claimed a voxel though the second outweighs background
    gap = (painted == 0) & (total - largest > 1 - total)
    painted[gap] = favourite[gap]
    return grid.image(painted)


def _share(label: sitk.Image, value: int, box: Box, grid: Grid) -> tuple[Box, ShareArray]:
    """Measure which share of each voxel of `grid` one structure fills, in the box around it.

    The structure's mask is interpolated linearly and averaged over each voxel, on parts no larger
    than a source voxel. The source's outer layer is taken to go on beyond its edges.
    """
    source = Grid.of(label)
    low = np.maximum([s.start - 1 for s in box[::-1]], 0)
    high = np.minimum([s.stop + 1 for s in box[::-1]], source.size_xyz)
    corners = grid.index_xyz(
        source.position_mm(list(product(*zip(low - 0.5, high - 0.5, strict=True))))
    )
    start = np.clip(np.floor(corners.min(axis=0) + 0.5), 0, grid.size_xyz).astype(int)
    stop = np.clip(np.ceil(corners.max(axis=0) + 0.5), start, grid.size_xyz).astype(int)
    where: Box = (slice(start[2], stop[2]), slice(start[1], stop[1]), slice(start[0], stop[0]))
    share = np.zeros(stop[::-1] - start[::-1], dtype=np.float32)
    if share.size == 0:
        return where, share
    (x0, y0, z0), (x1, y1, z1) = low.tolist(), high.tolist()
    # source voxels that one step along each axis of `grid` crosses, along each axis of the source
    crossed = np.abs(np.linalg.inv(source.steps_mm) @ grid.steps_mm)
    beyond = np.ceil(crossed.sum(axis=1) / 2).astype(int).tolist()
    mask = sitk.ZeroFluxNeumannPad(label[x0:x1, y0:y1, z0:z1] == value, beyond, beyond)
    factors = [max(1, math.ceil(n - EDGE_TOLERANCE)) for n in crossed.max(axis=0)]
    depth = max(1, SLAB_VOXELS // (share[0].size * math.prod(factors)))
    for z in range(start[2], stop[2], depth):
        first, last = (*start[:2], z), (*stop[:2], min(z + depth, stop[2]))
        fine = _sample(mask, grid.part(first, last, factors))
        inside = source.covers(grid.part(first, last, (1, 1, 1)))
        part = sitk.GetArrayFromImage(sitk.BinShrink(fine, factors)) * inside
        share[z - start[2] : last[2] - start[2]] = part
    return where, share


def _claim(share: ShareArray, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose the free voxels of the largest shares, as many as the structure's volume fills.

    Voxels of equal share stand or fall together, whichever is nearer to the volume, but a
    structure that fills any voxel in part gets at least one.
    """
    shares = share[free & (share > 0)]
    if shares.size == 0:
        return np.zeros_like(free)
    wanted = min(max(round(float(share.sum(dtype=np.float64))), 1), shares.size)
    level = np.partition(shares, -wanted)[-wanted]
    above, upto = share > level, share >= level
    fewer, more = np.count_nonzero(above & free), np.count_nonzero(upto & free)
    return free & (above if fewer > 0 and wanted - fewer < more - wanted else upto)


def _sample(image: sitk.Image, grid: Grid, outside: float = 0.0) -> sitk.Image:
    place = (grid.origin_mm, grid.spacing_mm, grid.direction_lps)
    how = (sitk.Transform(), sitk.sitkLinear, *place, outside, sitk.sitkFloat32)
    return sitk.Resample(image, grid.size_xyz, *how)


def _orthonormal(direction_lps: Sequence[float]) -> bool:
    axes = np.asarray(direction_lps, dtype=np.float64).reshape(3, 3)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)


def _check_spacing(spacing_mm: Sequence[float]) -> None:
    _require(
        len(spacing_mm) == 3 and all(math.isfinite(s) and s > 0 for s in spacing_mm),
        f"spacing_mm: expected three finite numbers above 0, got {tuple(spacing_mm)}",
    )


def _require(holds: bool, seen: str) -> None:
    if not holds:
        msg = f"{seen}; look at the file's header and mend it, or leave the file out"
        raise GeometryError(msg)


def _triple(values: ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in np.asarray(values))
    return x, y, z
