"""The label of a case on its image's grid: one map of values, or one mask file per structure."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.alignment import align
from manifests.volumes.grid import Grid
from manifests.volumes.readers.repairs import OF_LABELS
from manifests.volumes.slabs import slabs
from manifests.volumes.volume import read_volume

GREATEST = np.iinfo(np.uint16).max
NEAR_INTEGER = 1e-3

LabelArray = NDArray[np.uint8] | NDArray[np.uint16]


def read_map(path: Path, grid: Grid, values: Collection[int]) -> tuple[LabelArray, list[Finding]]:
    """Read a label map onto an image's grid.

    Returns:
        Only 0 and `values`, which the recipe lists, [z, y, x]; and what was noticed.

    Raises:
        SetAsideError: The label cannot be used.
    """
    whole, findings = _read_whole(path, grid)
    check_listed(whole, values, path)
    return whole, findings


def read_masks(folder: Path, names: Sequence[str], grid: Grid) -> tuple[LabelArray, list[Finding]]:
    """Read one mask file per value onto an image's grid; value 1 is the first file's.

    Returns and raises what `paint_masks` does.
    """
    return paint_masks(names, lambda name: _read_mask(folder / name, grid), grid)


def paint_masks(
    names: Sequence[str],
    read: Callable[[str], tuple[NDArray[np.bool_], list[Finding]]],
    grid: Grid,
) -> tuple[LabelArray, list[Finding]]:
    """Make a label map of masks; value 1 is the first one's.

    A mask whose name is empty is not read: its value has no voxel. Where masks overlap, the voxel
    goes to the one that is listed first.

    Args:
        names: What the recipe calls the masks.
        read: Reads one onto the grid [z, y, x], and says what was noticed.
        grid: The image's.

    Returns:
        Values from 0 to the number of names, [z, y, x], and what was noticed.

    Raises:
        SetAsideError: A mask is missing or cannot be used.
    """
    painted = np.zeros(grid.size_xyz[::-1], np.uint16)
    findings: dict[tuple[str, str], Finding] = {}
    overlaps: list[str] = []
    for value, name in enumerate(names, start=1):
        if not name:
            continue
        mask, found = read(name)
        findings |= {(f.code, f.reason): f for f in found}
        taken = np.bincount(painted[mask], minlength=value)
        overlaps += [f"{n:,} of {name} in {names[v - 1]}" for v, n in enumerate(taken) if v and n]
        painted[mask & (painted == 0)] = value
    found = list(findings.values())
    if overlaps:
        found.append(Finding("masks_overlap", f"voxels: {'; '.join(overlaps)}"))
    return painted, found


def _read_mask(path: Path, grid: Grid) -> tuple[NDArray[np.bool_], list[Finding]]:
    whole, findings = _read_whole(path, grid)
    inside = np.unique(whole[whole > 0]).tolist()
    if len(inside) > 1:
        reason = f"{path}: expected a mask, of 0 and one other value; got {inside[:10]}"
        raise SetAsideError(Finding("value_unlisted", reason))
    return whole > 0, findings


def _read_whole(path: Path, grid: Grid) -> tuple[LabelArray, list[Finding]]:
    label = read_volume(path, OF_LABELS, is_label=True)
    voxels, aligned = align(label, grid, path)
    whole, rounded = whole_numbers(voxels, path)
    return whole, [*label.findings, *aligned, *rounded]


def whole_numbers(voxels: NDArray[Any], path: Path) -> tuple[LabelArray, list[Finding]]:
    """Return label values as unsigned 8-bit or 16-bit numbers; those slightly off are rounded.

    Raises:
        SetAsideError: They are not whole, negative, or too large.
    """
    if voxels.dtype == np.uint8:
        return voxels, []
    values, furthest = np.empty(voxels.shape, np.uint16), 0.0
    for at in slabs(voxels.shape):
        slab = voxels[at]
        whole = np.rint(slab) if slab.dtype.kind == "f" else slab
        if whole is not slab:
            furthest = max(furthest, _furthest(slab, whole, path))
        _check_range(whole, path)
        values[at] = whole
    finding = Finding("label_rounded", f"{path.name}: by up to {furthest:.2g}")
    return values, [finding] if furthest else []


def _furthest(slab: NDArray[Any], whole: NDArray[Any], path: Path) -> float:
    off = np.abs(slab - whole)
    furthest = float(off.max())
    if not furthest <= NEAR_INTEGER:  # NaN is not
        odd = slab[~(off <= NEAR_INTEGER)].flat[0]
        reason = f"{path}: expected whole numbers; got {odd} among others"
        raise SetAsideError(Finding("label_not_integer", reason))
    return furthest


def _check_range(whole: NDArray[Any], path: Path) -> None:
    least, greatest = whole.min(), whole.max()
    if least < 0:
        reason = f"{path}: expected values of at least 0; got {least} among others"
        raise SetAsideError(Finding("label_negative", reason))
    if greatest > GREATEST:
        reason = f"{path}: expected values of at most {GREATEST}; got {greatest} among others"
        raise SetAsideError(Finding("value_unlisted", reason))


def check_listed(voxels: LabelArray, values: Collection[int], path: Path) -> None:
    """Refuse a label that has a value besides 0 and those that the recipe lists.

    Raises:
        SetAsideError: It has one.
    """
    unlisted = np.zeros(GREATEST + 1, np.bool_)
    for at in slabs(voxels.shape):  # labels are the same over long runs
        flat = voxels[at].reshape(-1)
        unlisted[flat[0]] = True
        unlisted[flat[1:][flat[1:] != flat[:-1]]] = True
    unlisted[[0, *values]] = False
    if odd := np.flatnonzero(unlisted).tolist():
        reason = (
            f"{path}: the recipe lists the values {sorted(values)}; got also {odd[:20]}: add what "
            f'{odd[0]} covers to [values], or {odd[0]} = "ignored" if nobody looked there'
        )
        raise SetAsideError(Finding("value_unlisted", reason))
