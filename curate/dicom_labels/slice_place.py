"""Where a slice of a segment lies in the array of an image, to the voxel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.volumes.grid import Grid

# As of a label map's corner: half a voxel is another idea of where a voxel's centre is.
TOLERANCE_VOXELS = 0.3


@dataclass(frozen=True)
class Slice:
    """Where the header puts a slice.

    Attributes:
        position_mm: Of its first pixel, LPS.
        orientation: Cosines of a row and of a column, LPS.
        spacing_mm: Distance of rows, and of columns.
    """

    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """Where a slice lies in the array of an image.

    Attributes:
        low: Index x, y, z of its first voxel.
        axes: The axes, of x, y and z, along which its rows follow each other, and its columns.
        flips: Whether its rows, and its columns, follow each other against these axes.
        off: Distance of its furthest corner from a voxel's centre along an axis, in voxels.
    """

    low: tuple[int, int, int]
    axes: tuple[int, int]
    flips: tuple[bool, bool]
    off: float


def place_of(where: Slice, shape: tuple[int, ...], grid: Grid) -> Place | None:
    """Return the place of a slice of so many rows and columns; None if its axes are others."""
    row, column = np.asarray(where.orientation).reshape(2, 3)
    # the next row lies along a column
    steps_mm = np.stack([column * where.spacing_mm[0], row * where.spacing_mm[1]])
    exact = steps_mm @ np.linalg.inv(grid.steps_mm).T  # [row column, x y z], in voxels
    steps = np.rint(exact).astype(int)
    axes = np.abs(steps).argmax(axis=1)
    if axes[0] == axes[1] or (np.abs(steps).sum(axis=1) != 1).any():
        return None
    first = np.rint(grid.index_xyz(where.position_mm)).astype(int)
    corners = np.array([[r, c] for r in (0, shape[0] - 1) for c in (0, shape[1] - 1)])
    found = grid.index_xyz(where.position_mm + corners @ steps_mm)
    off = np.abs(found - first - corners @ steps).max()
    x, y, z = (first + corners @ steps).min(axis=0).tolist()
    flips = bool(steps[0].sum() < 0), bool(steps[1].sum() < 0)
    return Place((x, y, z), (int(axes[0]), int(axes[1])), flips, float(off))


def paint(voxels: NDArray[np.bool_], frame: NDArray[np.bool_], place: Place) -> bool:
    """Add a slice to a mask [z, y, x]; return whether a part of it lies outside and is lost."""
    rows, columns = (slice(None, None, -1 if flip else 1) for flip in place.flips)
    frame = frame[rows, columns]
    counts = [1, 1, 1]
    counts[place.axes[0]], counts[place.axes[1]] = frame.shape
    # the array's axes are z, y, x: what runs along a later one of x, y, z comes first
    block = frame if place.axes[0] > place.axes[1] else frame.T
    block = block.reshape(counts[::-1])
    low, size = np.array(place.low[::-1]), np.array(voxels.shape)
    start, stop = np.clip([low, low + block.shape], 0, size)
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    kept = block[tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))]
    if kept.size:
        voxels[inside] |= kept
    return bool(np.count_nonzero(kept) < np.count_nonzero(block))
