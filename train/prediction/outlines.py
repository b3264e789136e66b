"""Outlines: a mask of one slice as polygons along the edges of its pixels.

The polygons go round whole pixels, so that a program which asks whether a pixel's centre lies
inside gets the same mask back, and areas are exact. A hole is joined to the outline around it by a
channel without width (a "keyhole"): a mask with holes is one polygon to a program that knows of no
holes, and to one that fills every polygon of a slice.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.measure import label

Mask = Bool[np.ndarray, "y x"]
Polygon = Float[np.ndarray, "corners xy"]
Corner = tuple[int, int]  # y, x of the first of the pixels around it that lies below and right
Loop = list[Corner]


def outlines(mask: Mask) -> Iterator[Polygon]:
    """Yield a polygon for each piece of a mask, whose pixels touch at edges.

    Corners are in pixels, x and y from the centre of the first one, without straight angles.
    """
    pieces = np.asarray(label(mask, connectivity=1))
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.pad(pieces[rows, columns] == number, 1)
        corners = np.array(_bent(_with_holes(_loops(piece))), np.float64)
        yield corners[:, ::-1] + (columns.start - 1.5, rows.start - 1.5)


def _loops(piece: Mask) -> list[Loop]:
    """Return the closed lines around a piece and its holes, the piece to the right of them.

    They have a corner at each end of a pixel's edge. Where four edges meet, a line turns right, and
    so goes on around the same pixel.
    """
    ends = defaultdict[Corner, list[Corner]](list)
    for start, end in _edges(piece):
        ends[start].append(end)
    loops: list[Loop] = []
    for first in sorted(ends):
        while ends[first]:
            at, following = first, ends[first].pop()
            loop = [at]
            while following != first:  # the uppermost corner is passed once only
                step = (following[0] - at[0], following[1] - at[1])
                loop.append(following)
                at, following = following, _next(following, step, ends[following])
            loops.append(loop)
    return loops


def _edges(piece: Mask) -> Iterator[tuple[Corner, Corner]]:
    inside = piece.astype(np.int8)
    below, right = (np.diff(inside, axis=axis) for axis in (0, 1))
    for y, x in np.argwhere(below).tolist():  # between the rows y and y + 1
        first, last = (y + 1, x), (y + 1, x + 1)
        yield (first, last) if below[y, x] > 0 else (last, first)
    for y, x in np.argwhere(right).tolist():
        first, last = (y, x + 1), (y + 1, x + 1)
        yield (last, first) if right[y, x] > 0 else (first, last)


def _next(at: Corner, step: Corner, ends: list[Corner]) -> Corner:
    turned_right = (at[0] + step[1], at[1] - step[0])
    return ends.pop(ends.index(turned_right) if len(ends) > 1 else 0)


def _with_holes(loops: list[Loop]) -> Loop:
    """Join the holes to the outline, which is the loop with the uppermost corner.

    From its uppermost corner a hole is joined straight upwards, where the piece is, to whatever
    comes first: the outline, or a hole that lies higher and is joined already.
    """
    whole, *holes = sorted(loops, key=min)
    corners, after = [*whole], [*range(1, len(whole)), 0]
    place = {corner: n for n, corner in enumerate(whole)}
    for hole in holes:
        y, x = min(hole)
        top = next(row for row in range(y - 1, -1, -1) if (row, x) in place)
        start, there = hole.index((y, x)), [(row, x) for row in range(top, y)]
        way = [*there[1:], *hole[start:], *hole[:start], hole[start], *there[::-1]]
        before, first = place[top, x], len(corners)
        after += [*range(first + 1, first + len(way)), after[before]]
        after[before] = first
        place |= {corner: first + n for n, corner in enumerate(way)}
        corners += way
    return _in_order(corners, after)


def _in_order(corners: Loop, after: list[int]) -> Loop:
    found, at = [corners[0]], after[0]
    while at:
        found.append(corners[at])
        at = after[at]
    return found


def _bent(loop: Loop) -> Loop:
    """Leave out the corners at which a line goes straight on."""
    around = zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
    return [b for a, b, c in around if (b[0] - a[0], b[1] - a[1]) != (c[0] - b[0], c[1] - b[1])]
