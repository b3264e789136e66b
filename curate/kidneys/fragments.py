"""Fragments: the small components of a mask, which join the nearest kidney."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from curate.kidneys.run_length import Bool, Floats, RunLengthMask
from manifests.ground.findings import Finding
from manifests.volumes.slabs import slabs

Sides = NDArray[np.uint8]


def join_fragments(
    mask: RunLengthMask, component: NDArray[np.integer], side: Sides
) -> tuple[Sides, tuple[Finding, ...]]:
    """Give each component whose runs have side 0 the side of the nearest voxel that has one.

    Returns:
        The sides, with none missing, and what was done.
    """
    loose = side == 0
    if not loose.any():
        return side, ()
    parts = list(_surface(mask[~loose], side[~loose]))
    tree = KDTree(np.concatenate([position_mm for position_mm, _ in parts]))
    named = np.concatenate([sides for _, sides in parts])
    position_mm, run = mask[loose].voxels()
    gap_mm, nearest = map(np.asarray, tree.query(position_mm))
    owner = component[loose][run]
    order = np.lexsort((gap_mm, owner))
    fragments, first = np.unique(owner[order], return_index=True)
    closest = order[first]
    joined = side.copy()
    joined[loose] = named[nearest[closest]][np.searchsorted(fragments, component[loose])]
    reason = (
        f"{len(fragments)} of {mask[loose].volume_ml:.2g} mL in all, "
        f"the farthest {gap_mm[closest].max():.1f} mm away"
    )
    return joined, (Finding("kidney_fragments", reason),)


def _surface(mask: RunLengthMask, side: Sides) -> Iterator[tuple[Floats, Sides]]:
    """Yield the positions and sides of the voxels that touch the outside by a face, by slabs."""
    low, high = mask.box_xyz
    for at in slabs((high - low)[::-1].tolist()):
        first = np.array([*low[:2], low[2] + at.start])
        last = np.array([*high[:2], low[2] + at.stop])
        painted = mask.paint(side, first - 1, last + 1)
        shell = _shell(painted > 0)
        index = np.argwhere(shell)[:, ::-1] + first
        yield mask.grid.position_mm(index), painted[1:-1, 1:-1, 1:-1][shell]


def _shell(mask: Bool) -> Bool:
    """Tell which voxels of a mask touch its outside by a face; without the outermost layer."""
    core = (slice(1, -1),) * 3
    inner = np.ones_like(mask[core])
    for axis in range(3):
        for there in (slice(None, -2), slice(2, None)):
            inner &= mask[*core[:axis], there, *core[axis + 1 :]]
    return mask[core] & ~inner
