"""Layers: slices of one size and direction, each at its own place, put onto a grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.volumes.resampling.separable import Axis

EXACT_VOXELS = 1e-3  # a shift that is none

FloatArray = NDArray[np.float64]
Voxels = NDArray[Any]


@dataclass(frozen=True)
class Layers:
    """Where the layers of a stack lie.

    Attributes:
        axes: One in each row, of length 1: along a row, along a column, across the layers (LPS).
        spacing_xy_mm: Distance of columns, and of rows.
        origin_mm: The first pixel of the first layer, LPS.
        offsets_mm: Of the first pixel of each layer from that of the first, [layer, 3]: along a
            row, along a column, and across the layers, where they grow.
    """

    axes: FloatArray
    spacing_xy_mm: tuple[float, float]
    origin_mm: FloatArray
    offsets_mm: FloatArray

    @property
    def mean_step_mm(self) -> float:
        """The mean distance of layers."""
        return float(self.offsets_mm[-1, 2] / (len(self.offsets_mm) - 1))

    def affine(self, step_mm: float, start_xy: tuple[int, int] = (0, 0)) -> FloatArray:
        """Return the 4 x 4 affine (LPS) of a grid of layers one step apart, as if none was shifted.

        Args:
            step_mm: From one layer to the next.
            start_xy: The pixel of the first layer where the grid begins; it may lie before it.
        """
        affine = np.eye(4)
        affine[:3, :3] = self.axes.T * (*self.spacing_xy_mm, step_mm)
        affine[:3, 3] = self.origin_mm + affine[:3, :2] @ start_xy
        return affine


def on_grid(
    voxels: Voxels, layers: Layers, step_mm: float, *, is_label: bool = False
) -> tuple[Voxels, FloatArray]:
    """Resample layers to a grid with right angles, each from where it lies.

    A layer is shifted within its own plane, by linear interpolation, so what it shows stays at its
    place in the patient. The grid is wide enough for all of them; what no layer covers gets the
    least value of all voxels (a label: 0). Between layers it is interpolated linearly too; layers
    that are one step apart are not mixed. Labels take the nearest voxel.

    Args:
        voxels: [layer, y, x].
        layers: Where they lie.
        step_mm: Distance of the grid's layers.
        is_label: Whether voxels are values that must not be mixed.

    Returns:
        The voxels [z, y, x] of the same number type, and the 4 x 4 affine of their grid (LPS).
    """
    outside = 0 if is_label else voxels.min()
    shifts = layers.offsets_mm[:, :2] / layers.spacing_xy_mm
    start = np.floor(shifts.min(axis=0) + EXACT_VOXELS).astype(int)
    stop = np.ceil(shifts.max(axis=0) - EXACT_VOXELS).astype(int) + voxels.shape[:0:-1]
    depths = layers.offsets_mm[:, 2]
    index = np.arange(int(depths[-1] / step_mm + EXACT_VOXELS) + 1) * step_mm
    where = np.interp(index, depths, np.arange(len(depths)))
    where = np.where(np.abs(where - np.rint(where)) < EXACT_VOXELS, np.rint(where), where)
    filled = np.empty((len(where), *(stop - start)[::-1]), voxels.dtype)
    kept: dict[int, Voxels] = {}  # the layers on both sides of the one that is filled

    def shifted(number: int) -> Voxels:
        if number not in kept:
            first = start - shifts[number]
            kept[number] = _shifted(voxels[number], first, stop - start, outside, is_label=is_label)
        return kept[number]

    for z, place in enumerate(where):
        below, share = int(place), float(place % 1)
        for number in [n for n in kept if n < below]:
            del kept[number]
        if is_label or share == 0:
            filled[z] = _as_type(shifted(int(place + 0.5)), voxels.dtype)
        else:
            mixed = shifted(below) * (1 - share) + shifted(below + 1) * share
            filled[z] = _as_type(mixed, voxels.dtype)
    return filled, layers.affine(step_mm, (int(start[0]), int(start[1])))


def _shifted(
    layer: Voxels,
    first_xy: FloatArray,
    size_xy: FloatArray,
    outside: Any,  # noqa: ANN401
    *,
    is_label: bool,
) -> Voxels:
    """Return a layer seen from a first pixel, fractions allowed, on."""
    for along, (first, count) in enumerate(zip(first_xy[::-1], size_xy[::-1], strict=True)):
        size = layer.shape[along]
        axis = Axis(1 - along, False, float(first), 1.0, int(count), size)
        inside = axis.inside
        if is_label or abs(first - round(first)) < EXACT_VOXELS:
            nearest = np.floor(axis.index + 0.5).astype(np.int64)  # rint takes even ones twice
            inside = (nearest >= 0) & (nearest < size)
            layer = np.take(layer, nearest.clip(0, size - 1), axis=along)
        else:
            weights = axis.weights("linear")
            values = layer.astype(np.float32)
            layer = weights @ values if along == 0 else values @ weights.T
        np.moveaxis(layer, along, 0)[~inside] = outside
    return layer


def _as_type(values: Voxels, dtype: np.dtype[Any]) -> Voxels:
    return values if dtype.kind == "f" else np.rint(values)
