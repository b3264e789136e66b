"""The grid of a volume: where its voxels lie.

Every position is in the LPS frame of DICOM and ITK, in mm: x grows to the patient's left, y to the
back, z to the head. An index counts voxels along the array axes (x fastest), from the centre of the
first voxel; numpy arrays are in the order z, y, x.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifests.ground.errors import GeometryError

if TYPE_CHECKING:
    import SimpleITK as sitk

AIR_HU = -1024.0
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
MM3_PER_ML = 1000.0
MAX_VOXELS = 2**31
MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 50.0  # of a scan
EDGE_TOLERANCE = 1e-3  # voxels: a header rounds this much, and it is no reason for one more voxel

FloatArray = NDArray[np.float64]


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
    def of(cls, image: "sitk.Image") -> "Grid":
        """Read the grid of a 3-D image with one value per voxel.

        Raises:
            GeometryError: The image is something else, or its header makes no sense.
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
    def affine_lps(self) -> FloatArray:
        """The 4 x 4 matrix from indices to positions (mm, LPS)."""
        return np.block([[self.steps_mm, np.reshape(self.origin_mm, (3, 1))], [np.eye(4)[3]]])

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in mL."""
        return math.prod(self.spacing_mm) / MM3_PER_ML

    def volume_ml(self, voxels: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the volumes in mL that these numbers of voxels have."""
        return voxels * math.prod(self.spacing_mm) / MM3_PER_ML

    def position_mm(self, index_xyz: ArrayLike) -> FloatArray:
        """Send indices [..., 3], fractions allowed, to positions [..., 3] (mm, LPS)."""
        # integers or reversed columns, as from argwhere, make the product ten times slower
        index = np.asarray(index_xyz, dtype=np.float64, order="C")
        return index @ self.steps_mm.T + np.asarray(self.origin_mm)

    def index_xyz(self, position_mm: ArrayLike) -> FloatArray:
        """Send positions [..., 3] (mm, LPS) to fractional indices [..., 3]."""
        offset_mm = np.asarray(position_mm, dtype=np.float64) - np.asarray(self.origin_mm)
        return offset_mm @ np.linalg.inv(self.steps_mm).T

    def image(self, array_zyx: NDArray[np.generic]) -> "sitk.Image":
        """Put an array of shape z, y, x on this grid (a copy)."""
        import SimpleITK as sitk  # slow to import

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


def harmonised_grid(source: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """Plan the grid of a harmonised case: axes along LPS, covering the source from edge to edge.

    The box around the source's outer voxel edges is filled with whole voxels; what they exceed it
    by (less than a voxel) is shared by both ends. Where the source's axes lie along LPS, in any
    order and either way, and its spacing is the wanted one (along LPS x, y and z), the voxels
    coincide.

    Raises:
        GeometryError: The spacing makes no sense, or the grid would hold 2^31 voxels or more.
    """
    _check_spacing(spacing_mm)
    corners = source.position_mm(list(product(*((-0.5, n - 0.5) for n in source.size_xyz))))
    low, high, spacing = corners.min(axis=0), corners.max(axis=0), np.asarray(spacing_mm)
    size = np.maximum(np.ceil((high - low) / spacing - EDGE_TOLERANCE), 1)
    _require(
        math.prod(size) < MAX_VOXELS,
        f"a volume of {high - low} mm is too large for a grid of {spacing_mm} mm",
    )
    x, y, z = (int(n) for n in size)
    return Grid((x, y, z), _triple(spacing), _triple((low + high) / 2 - (size - 1) / 2 * spacing))


def is_possible(spacing_mm: ArrayLike) -> bool:
    """Return whether a scan can have this spacing along each axis."""
    spacing = np.asarray(spacing_mm)
    return bool(((spacing >= MIN_SPACING_MM) & (spacing <= MAX_SPACING_MM)).all())


def corner_distance(first: FloatArray, second: FloatArray, size_xyz: Sequence[int]) -> float:
    """Return how far apart two 4 x 4 affines put a corner of a volume, at most.

    The distance is in voxels of the finest spacing of the two.
    """
    corners = np.array([[*c, 1.0] for c in product(*((0, n - 1) for n in size_xyz))])
    apart_mm = np.linalg.norm(corners @ (first - second)[:3].T, axis=1).max()
    spacings_mm = np.linalg.norm([first[:3, :3], second[:3, :3]], axis=1)
    return float(apart_mm / spacings_mm.min())


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
        msg = f"{seen}; look at the file's header and correct it, or leave the file out"
        raise GeometryError(msg)


def _triple(values: ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in np.asarray(values))
    return x, y, z
