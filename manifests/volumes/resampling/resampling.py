"""Resampling: how a volume is brought onto another grid."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from manifests.volumes.grid import AIR_HU, Grid
from manifests.volumes.resampling.ignored import ignored_voxels
from manifests.volumes.resampling.oblique import Box, Values, oblique_sample, oblique_share
from manifests.volumes.resampling.separable import (
    Axis,
    Interpolation,
    Weights,
    along_axes,
    parallel_axes,
    weighted_sums,
)
from manifests.volumes.volume import Volume

LEAST, GREATEST = -(2.0**15), 2.0**15 - 1
LEAST_KNOWN = 1e-3  # of a voxel whose centre is not ignored


def resample_linear(volume: Volume, grid: Grid, *, outside: float = 0.0) -> Volume:
    """Interpolate a volume linearly (float32); voxels beyond its edges are `outside`."""
    axes = parallel_axes(volume.grid, grid)
    if axes is None:
        return Volume(oblique_sample(volume, grid, outside=outside), grid)
    filled = np.empty(grid.size_xyz[::-1], np.float32)
    weights = [axis.weights("linear") for axis in axes[::-1]]
    weighted_sums(along_axes(volume.voxels, axes), weights, filled.__setitem__)
    _set_outside(filled, axes, outside)
    return Volume(filled, grid)


def resample_image(image: Volume, grid: Grid, *, interpolation: Interpolation = "linear") -> Volume:
    """Interpolate a CT (HU; to int16, rounded and clipped); beyond its edges is air.

    Cubic B-splines are clipped where they swing beyond the image's own range.
    """
    axes, hu = parallel_axes(image.grid, grid), image.voxels
    least, greatest = LEAST, GREATEST
    if interpolation == "cubic":
        least, greatest = max(least, float(hu.min())), min(greatest, float(hu.max()))
    if axes is None:
        values = oblique_sample(image, grid, outside=AIR_HU, interpolation=interpolation)
        return Volume(_rounded(values, min(least, AIR_HU), greatest).astype(np.int16), grid)
    filled = np.empty(grid.size_xyz[::-1], np.int16)

    def take(at: slice, layers: Values) -> None:
        filled[at] = _rounded(layers, least, greatest)

    weighted_sums(along_axes(hu, axes), [a.weights(interpolation) for a in axes[::-1]], take)
    _set_outside(filled, axes, AIR_HU)
    return Volume(filled, grid)


def resample_label(label: Volume, grid: Grid, *, ignored: int | None = None) -> Volume:
    """Bring a label map (uint8) onto another grid so that each structure keeps its volume.

    Each structure's share of every voxel is measured (linear interpolation, averaged over the
    voxel), and the structure takes the voxels of its largest shares, as many as its volume fills.
    Small structures choose first, so none that fills a part of a voxel is lost. A structure that
    the source's edge cuts is continued to the edge of the voxels whose centres the source covers.

    A voxel is `ignored` if its centre lies in an ignored voxel of the source, or on its border. So
    what lies wholly in ignored voxels stays ignored, what lies wholly in others does not become so,
    and the border between them moves by less than half a voxel. All other voxels share the volume
    of which something is known: shares are measured among the voxels that are not ignored.

    `tests/benchmarks/label_resampling.py` compares it with nearest neighbours and with ITK's
    interpolators for labels, and tells why it was chosen.

    Raises:
        TypeError: The class ids are not 8-bit unsigned integers.
    """
    axes, view = parallel_axes(label.grid, grid), label.voxels
    if view.dtype != np.uint8:
        msg = f"expected class ids as uint8, got {view.dtype}; check them, then cast"
        raise TypeError(msg)
    weights: list[Weights] = []
    if axes is not None:
        view = along_axes(view, axes)
        weights = [axis.mean_weights() * axis.inside[:, None] for axis in axes[::-1]]
    boxes = _boxes(view)
    counts = {v: np.count_nonzero(view[box] == v) for v, box in boxes.items()}
    shape = grid.size_xyz[::-1]
    painted, favourite = np.zeros((2, *shape), np.uint8)
    total, largest = np.zeros((2, *shape), np.float32)  # takes memory where it is written to
    reached: list[Box] = []

    def share_of(value: int) -> tuple[Box, Values]:
        if weights:
            return _share(view, value, boxes[value], weights)
        return oblique_share(label, value, boxes[value], grid)

    known: Values | None = None  # one over the share of each voxel that is not ignored
    if ignored is not None and ignored in boxes:
        hidden = ignored_voxels(label, ignored, grid, axes)
        known = np.ones(shape, np.float32)
        box, share = share_of(ignored)
        known[box] /= np.maximum(1 - share, LEAST_KNOWN)
        known[hidden], painted[hidden] = 0, ignored
        del boxes[ignored]
    # small structures choose first: what they claim hardly matters to a large one
    for value in sorted(boxes, key=lambda v: counts[v]):
        box, share = share_of(value)
        if known is not None:
            share *= known[box]
        np.copyto(painted[box], value, where=_claim(share, painted[box] == 0))
        total[box] += share
        ahead = share > largest[box]
        np.copyto(largest[box], share, where=ahead)
        np.copyto(favourite[box], value, where=ahead)
        reached.append(box)
    if not reached:
        return Volume(painted, grid)
    # where structures meet, none may have claimed a voxel though the second outweighs background
    around = tuple(
        slice(min(part.start for part in along), max(part.stop for part in along))
        for along in zip(*reached, strict=True)
    )
    other = total[around] - largest[around]
    gap = (painted[around] == 0) & (other > 1 - total[around])
    np.copyto(painted[around], favourite[around], where=gap)
    return Volume(painted, grid)


def _boxes(labels: NDArray[np.uint8]) -> dict[int, Box]:
    """Return the box around each structure."""
    flat = labels.max(axis=0)
    if not flat.any():
        return {}
    filled = (labels.max(axis=(1, 2)), flat.max(axis=1), flat.max(axis=0))
    ends = [np.flatnonzero(line)[[0, -1]] for line in filled]
    z, y, x = ((int(first), int(last) + 1) for first, last in ends)
    part = labels[slice(*z), slice(*y), slice(*x)]  # the rest costs time
    return {
        value: (_moved(box[0], z[0]), _moved(box[1], y[0]), _moved(box[2], x[0]))
        for value, box in enumerate(ndimage.find_objects(part), start=1)
        if box
    }


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _share(
    labels: NDArray[np.uint8], value: int, box: Box, weights_zyx: Sequence[Weights]
) -> tuple[Box, Values]:
    """Measure which share of each voxel to fill one structure has, in the box around it."""
    own = [w[:, part] for w, part in zip(weights_zyx, box, strict=True)]
    reached = [np.flatnonzero(w.any(axis=1)) for w in own]
    z, y, x = (slice(int(r[0]), int(r[-1]) + 1) if r.size else slice(0, 0) for r in reached)
    own = [w[part] for w, part in zip(own, (z, y, x), strict=True)]
    share = np.zeros([len(w) for w in own], np.float32)
    if share.size:
        weighted_sums(labels[box] == value, own, share.__setitem__)
    return (z, y, x), share


def _claim(share: Values, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose the free voxels of the largest shares, as many as the structure's volume fills.

    Voxels of equal share are taken or left together, whichever is nearer to the volume, but a
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


def _rounded(values: Values, least: float, greatest: float) -> Values:
    """Round to whole numbers, halves up, and clip, in place."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, least, greatest, out=values)


def _set_outside(filled: NDArray[np.generic], axes: Sequence[Axis], value: float) -> None:
    """Write into all layers whose centres the source does not cover."""
    for number, axis in enumerate(axes[::-1]):
        np.moveaxis(filled, number, 0)[~axis.inside] = value
