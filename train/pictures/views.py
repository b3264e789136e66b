"""Views: which slices of a volume are worth a look, and where their pixels lie in millimetres."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from train.prediction.sliding_window import ClassVolume, HuVolume

BODY_HU = -300.0
BODY_MARGIN_MM = 10.0
LABEL_MARGIN_MM = 50.0

Slice = Shaped[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class View:
    """A part of one slice of a volume whose axes lie along LPS.

    Attributes:
        axis: The array axis, of z, y, x, that the slice cuts across.
        index: Where it does, in voxels.
        step_mm: Spacing from row to row and from column to column.
        upwards: Whether later rows are higher, as along z, or lower, as along y.
    """

    axis: int
    index: int
    rows: slice
    columns: slice
    step_mm: tuple[float, float]
    upwards: bool

    def of(self, volume: Shaped[np.ndarray, "z y x"]) -> Slice:
        """Return the part of a volume that is shown."""
        return np.take(volume, self.index, axis=self.axis)[self.rows, self.columns]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Return height and width."""
        return (
            (self.rows.stop - self.rows.start) * self.step_mm[0],
            (self.columns.stop - self.columns.start) * self.step_mm[1],
        )

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Return where the left, right, bottom and top edge are, with the first row at 0."""
        height, width = self.size_mm
        return (0.0, width, 0.0, height) if self.upwards else (0.0, width, height, 0.0)


def choose_views(
    hu: HuVolume,
    truth: ClassVolume,
    predictions: Collection[ClassVolume] = (),
    *,
    spacing_mm: tuple[float, ...],
    focus: ClassVolume | None = None,
) -> tuple[View, View]:
    """Choose an axial and a coronal slice that show much of every labelled class.

    A class counts by the share of its own greatest area, so that the liver does not outweigh the
    pancreas. Where nothing is labelled the predictions decide, and without any the middle. Both
    slices are cropped to the body's width, the coronal one also to what it shows of any class.

    Args:
        hu: Hounsfield units.
        truth: Class ids on the same grid.
        predictions: More class ids.
        spacing_mm: Spacing along x, y, z.
        focus: What the slices are to show instead, unless it is empty.

    Returns:
        The axial view (columns grow to the patient's left, rows to the back), and the coronal one
        (rows grow to the head).
    """
    x_mm, y_mm, z_mm = spacing_mm
    volumes = [truth, *predictions]
    labels = [truth] if truth.any() else volumes
    if focus is not None and focus.any():
        labels = [focus]
    z, y = _fullest(labels, 0, hu.shape[0]), _fullest(labels, 1, hu.shape[1])
    axial, coronal = hu[z] > BODY_HU, hu[:, y] > BODY_HU
    labelled = np.any([(volume[:, y] > 0).any(1) for volume in volumes], axis=0)
    columns = _span(np.any([*axial, *coronal], axis=0), BODY_MARGIN_MM / x_mm)
    depth = _span(np.any(axial, axis=1), BODY_MARGIN_MM / y_mm)
    height = _span(labelled, LABEL_MARGIN_MM / z_mm)
    return (
        View(0, z, depth, columns, (y_mm, x_mm), upwards=False),
        View(1, y, height, columns, (z_mm, x_mm), upwards=True),
    )


def _fullest(labels: Collection[ClassVolume], axis: int, length: int) -> int:
    """Return the index of the slice where the classes together show most of themselves."""
    others = tuple(a for a in range(3) if a != axis)
    shown = np.zeros(length)
    for volume in labels:
        for n in np.unique(volume[volume > 0]):
            area = np.count_nonzero(volume == n, axis=others)
            shown += area / area.max()
    return int(shown.argmax()) if shown.any() else length // 2


def _span(inside: np.ndarray, margin: float) -> slice:
    """Return the pixels from the first to the last inside, with a margin, or else all."""
    found = np.flatnonzero(inside)
    if not found.size:
        return slice(0, inside.size)
    low, high = int(found[0] - margin), int(found[-1] + 1 + margin)
    return slice(max(low, 0), min(high, inside.size))
