"""Class field: the most probable class of each voxel, and probabilities only where classes meet.

Where the eight voxels around a place agree on the most probable class, linear interpolation between
them can find no other: each is at least as probable for that class as for any other, and so is
their weighted mean. What is kept of the probabilities are those of voxels with a neighbour of
another class, a few in a hundred of a scan's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, Int32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from manifests.classes.label_space import IGNORED

MIXED = IGNORED  # no class has this number
LEAST = 2.0**-12  # a smaller probability is less than half precision rounds by

Box = tuple[slice, slice, slice]  # along z, y, x
PlaneProbabilities = Mapping[int, Float[Tensor, "y x"]]  # of the classes that are there
SlabProbabilities = Mapping[int, Float[Tensor, "z y x"]]
PlaneClasses = UInt8[np.ndarray, "y x"]


@dataclass(frozen=True)
class Contested:
    """The voxels of one plane that have a neighbour of another class.

    Attributes:
        voxels: Their numbers in the plane.
        classes: The classes that any of them may have.
        probs: How probable these are in each voxel.
    """

    voxels: Int32[np.ndarray, "voxels"]
    classes: UInt8[np.ndarray, "classes"]
    probs: Float16[np.ndarray, "voxels classes"]

    def within(self, box: Box, columns: int) -> tuple["Contested", tuple[NDArray[np.int32], ...]]:
        """Return those in a box, and where they lie in it along y and x.

        Args:
            box: Some of the planes, rows and columns.
            columns: Of the plane.
        """
        y, x = np.divmod(self.voxels, columns)
        y, x = y - box[1].start, x - box[2].start
        inside = (y >= 0) & (y < box[1].stop - box[1].start)
        inside &= (x >= 0) & (x < box[2].stop - box[2].start)
        kept = Contested(self.voxels[inside], self.classes, self.probs[inside])
        return kept, (y[inside], x[inside])


@dataclass(frozen=True)
class Contest:
    """The contested voxels of a box.

    Attributes:
        row_of: The row of `probs` of each voxel; those that are not contested have any.
        classes: The class of each column of `probs`.
    """

    box: Box
    row_of: Int32[np.ndarray, "z y x"]
    classes: UInt8[np.ndarray, "classes"]
    probs: Float[Tensor, "rows classes"]


@dataclass(frozen=True)
class ClassField:
    """The most probable classes on the network's grid.

    Attributes:
        cells: The class that a voxel and the next along z, y and x have in common, or `MIXED`; at
            the far end of an axis, a voxel is its own next.
        planes: The contested voxels from the first z to the last.
    """

    cells: UInt8[np.ndarray, "z y x"]
    planes: tuple[Contested, ...]

    def contest(self, box: Box) -> Contest:
        """Gather the contested voxels of a box."""
        parts = [plane.within(box, self.cells.shape[2]) for plane in self.planes[box[0]]]
        classes = np.unique(np.concatenate([plane.classes for plane, _ in parts]))
        row_of = np.zeros([part.stop - part.start for part in box], np.int32)
        probs = torch.zeros((sum(len(plane.voxels) for plane, _ in parts), len(classes)))
        first = 0
        for layer, (plane, places) in zip(row_of, parts, strict=True):
            last = first + len(plane.voxels)
            layer[places] = np.arange(first, last)
            columns = torch.from_numpy(np.searchsorted(classes, plane.classes))
            probs[first:last, columns] = torch.from_numpy(plane.probs).float()
            first = last
        return Contest(box, row_of, classes, probs)


def first_greatest(probs: PlaneProbabilities, *, least: float = 0.0) -> PlaneClasses:
    """Return the most probable class of each voxel; of equally probable ones the first.

    A voxel whose class is less probable than `least` is `IGNORED`.
    Several times as fast as `argmax` along an axis that is not the last.
    """
    ((first, greatest), *others) = sorted(probs.items())
    greatest = greatest.clone()
    classes = torch.full(greatest.shape, first, dtype=torch.uint8, device=greatest.device)
    for n, prob in others:
        classes.masked_fill_(prob > greatest, n)
        torch.maximum(greatest, prob, out=greatest)
    if least:
        classes.masked_fill_(greatest < least, IGNORED)
    return classes.cpu().numpy()


def planes_of(slabs: Iterable[SlabProbabilities]) -> Iterator[PlaneProbabilities]:
    """Yield one plane at a time; each holds until the next but one is asked for."""
    for slab in slabs:
        last = len(next(iter(slab.values()))) - 1
        for z in range(last + 1):
            yield {n: p[z].clone() if z == last else p[z] for n, p in slab.items()}


def class_field(slabs: Iterable[SlabProbabilities], shape: Sequence[int]) -> ClassField:
    """Decide on the classes of a volume, of which the probabilities come some slices at a time.

    Args:
        slabs: From the feet up; each may be overwritten when the next is asked for. A class that
            is missing has probability 0.
        shape: Of all slices together [z, y, x].
    """
    cells = np.empty(shape, np.uint8)
    kept: list[Contested] = []
    below: PlaneProbabilities = {}
    for z, plane in enumerate(planes_of(slabs)):
        cells[z] = _in_common(first_greatest(plane))
        if z:
            np.copyto(cells[z - 1], MIXED, where=cells[z - 1] != cells[z])
            kept.append(_contested(below, cells[max(z - 2, 0) : z]))
        below = plane
    kept.append(_contested(below, cells[-2:]))
    return ClassField(cells, tuple(kept))


def _in_common(classes: PlaneClasses) -> PlaneClasses:
    """Return the class that each voxel and the next along y and x have in common, or `MIXED`."""
    common = classes.copy()
    mixed = np.zeros(classes.shape, np.bool_)
    mixed[:-1] = classes[:-1] != classes[1:]
    mixed[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    mixed[:-1, :-1] |= classes[:-1, :-1] != classes[1:, 1:]
    common[mixed] = MIXED
    return common


def _contested(probs: PlaneProbabilities, cells: UInt8[np.ndarray, "cells y x"]) -> Contested:
    """Keep the probabilities of a plane's voxels at the corners of mixed cells on either side."""
    corners = (cells == MIXED).any(axis=0)
    corners[1:] |= corners[:-1]
    corners[:, 1:] |= corners[:, :-1]
    voxels = np.flatnonzero(corners).astype(np.int32)
    numbers = torch.from_numpy(voxels).to(next(iter(probs.values())).device)
    each = {n: prob.reshape(-1)[numbers] for n, prob in probs.items()}
    found = sorted(n for n, prob in each.items() if len(voxels) and prob.max() >= LEAST)
    rows = torch.stack([each[n] for n in found], 1) if found else torch.empty(len(voxels), 0)
    return Contested(voxels, np.array(found, np.uint8), rows.half().cpu().numpy())
