"""Foreground index: where a label volume holds each class, stored beside the manifest.

The file is named by the digest of the label file, so that it cannot belong to another one. It holds
class ids before `merged` is applied, so that a manifest edit needs no new one.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from manifests.classes.label_space import IGNORED
from manifests.ground.atomic import clear_partial, whole_file
from train.patches.mapped_case import MappedCase, check_label
from train.patches.sampler import Candidate

FOLDER = "foreground"
SUFFIX = ".safetensors"
LOCK = ".foreground.lock"  # beside the folder
_PATIENCE_SECONDS = 10  # a write takes milliseconds; without the lock, nothing is kept
_POLL_SECONDS = 0.005

_VOXELS_PER_CLASS = 2000  # of a large class, 16 kB; nnU-Net keeps 10,000
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ClassVoxels:
    """The number of voxels of one class, and flat indices of some: ascending, evenly spread."""

    count: int
    flat: np.ndarray


# By class id before `merged`, without the background. In its place are all voxels that were looked
# at, if some were not.
ForegroundIndex = Mapping[int, ClassVoxels]
LOOKED_AT = 0


def find_candidates(
    cases: Sequence[MappedCase], folder: Path, *, workers: int
) -> tuple[Candidate, ...]:
    """Return what the sampler must know of each case, searched by so many threads.

    If the manifest's folder is read-only, every start searches the volumes again.

    Raises:
        TrainingError: A label volume holds a value that is no class.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="foreground") as pool:
        return tuple(pool.map(lambda case: _candidate(case, folder), cases))


def index_case(case: MappedCase, folder: Path) -> ForegroundIndex:
    """Return the index of one case.

    Raises:
        TrainingError: The label volume holds a value that is no class.
    """
    if not _DIGEST.fullmatch(case.label_sha256):  # it becomes part of a path
        return _search(case)
    path = folder / FOLDER / f"{case.label_sha256}{SUFFIX}"
    index = _read(path, case)
    if index is None:
        index = _search(case)
        with suppress(OSError, SafetensorError):  # a full disk is either
            _write(path, index)
    return index


def foreground_of(index: ForegroundIndex, merged: Sequence[int]) -> dict[int, np.ndarray]:
    """Return flat indices of labelled voxels by representative above 0, with `merged` applied.

    In a group of several classes, each has the same share of the indices as of the voxels.
    """
    groups: dict[int, list[ClassVoxels]] = {}
    for class_id, voxels in sorted(index.items()):
        if merged[class_id] > 0:
            groups.setdefault(merged[class_id], []).append(voxels)
    return {representative: _joined(group) for representative, group in sorted(groups.items())}


def _candidate(case: MappedCase, folder: Path) -> Candidate:
    index = index_case(case, folder)
    foreground = foreground_of(index, case.merged)
    looked_at = index[LOOKED_AT].flat if LOOKED_AT in index else None
    return Candidate(case.case_id, case.dataset, case.merged, case.shape_zyx, foreground, looked_at)


def _joined(group: Sequence[ClassVoxels]) -> np.ndarray:
    total = sum(voxels.count for voxels in group)
    share = min(1.0, _VOXELS_PER_CLASS / total)
    return np.concatenate([_spread(v.flat, max(1, round(v.count * share))) for v in group])


def _search(case: MappedCase) -> ForegroundIndex:
    label = case.label.reshape(-1)
    flat = np.flatnonzero(label)
    values = label[flat]
    check_label(case, values)
    found = {int(n): flat[values == n] for n in np.unique(values)}
    if found.pop(IGNORED, flat[:0]).size and (looked_at := np.flatnonzero(label != IGNORED)).size:
        found[LOOKED_AT] = looked_at
    return {n: ClassVoxels(f.size, _spread(f, _VOXELS_PER_CLASS)) for n, f in found.items()}


def _spread(flat: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of them, evenly spread."""
    if flat.size <= most:
        return flat
    return flat[np.linspace(0, flat.size - 1, most).astype(np.int64)]


def _write(path: Path, index: ForegroundIndex) -> None:
    arrays = {f"{n}/flat": voxels.flat.astype(np.int64) for n, voxels in index.items()}
    counts = {f"{n}/count": np.array([voxels.count]) for n, voxels in index.items()}
    # trainings may share the folder; whoever has the lock is the only one that writes, so that
    # what is half written then is a killed writer's
    with FileLock(path.parents[1] / LOCK, timeout=_PATIENCE_SECONDS, poll_interval=_POLL_SECONDS):
        clear_partial(path.parent)
        with whole_file(path) as temporary:
            save_file(arrays | counts, temporary)


def _read(path: Path, case: MappedCase) -> ForegroundIndex | None:
    """Return the index in a file, or None if there is no file or it does not fit the case."""
    try:
        arrays = load_file(path)
        classes = sorted({int(name.split("/")[0]) for name in arrays})
        index = {
            n: ClassVoxels(int(arrays[f"{n}/count"].item()), arrays[f"{n}/flat"]) for n in classes
        }
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return index if _fits(index, case) else None


def _fits(index: ForegroundIndex, case: MappedCase) -> bool:
    voxels = int(np.prod(case.shape_zyx))
    return all(
        0 <= n < len(case.merged)
        and v.flat.dtype == np.int64
        and v.flat.ndim == 1
        and 0 < v.flat.size <= v.count <= voxels
        and 0 <= v.flat.min() <= v.flat.max() < voxels
        for n, v in index.items()
    )
