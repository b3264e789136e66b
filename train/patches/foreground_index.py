"""Foreground index: where a label volume holds each class, found once and kept beside the manifest.

The file is named by the digest of the label file, so that it cannot be of another one; it holds
classes as they were written, so that a manifest edit needs no new one.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from manifests.ground.atomic import whole_file
from train.patches.mapped_case import MappedCase, check_label
from train.patches.sampler import Candidate

FOLDER = "foreground"
SUFFIX = ".safetensors"

_VOXELS_PER_CLASS = 2000
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ClassVoxels:
    """Where a volume holds one class.

    Attributes:
        count: How many voxels it has.
        flat: Flat indices of some of them, ascending and evenly spread; of all where there are few.
    """

    count: int
    flat: np.ndarray


ForegroundIndex = Mapping[int, ClassVoxels]  # by class id as written, without the background


def find_candidates(
    volumes: Sequence[MappedCase], folder: Path, *, workers: int
) -> tuple[Candidate, ...]:
    """What the sampler must know of each volume.

    Args:
        volumes: The cases.
        folder: The manifest's. One that cannot be written to costs a search at every start, and
            nothing else.
        workers: Threads that search.

    Raises:
        TrainingError: A label volume holds a value that is no class.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="foreground") as pool:
        return tuple(pool.map(lambda volume: _candidate(volume, folder), volumes))


def index_volume(volume: MappedCase, folder: Path) -> ForegroundIndex:
    """The index of one volume.

    Raises:
        TrainingError: The label volume holds a value that is no class.
    """
    if not _DIGEST.fullmatch(volume.label_sha256):  # it becomes part of a path
        return _search(volume)
    path = folder / FOLDER / f"{volume.label_sha256}{SUFFIX}"
    index = _read(path, volume)
    if index is None:
        index = _search(volume)
        with suppress(OSError):
            _write(path, index)
    return index


def foreground_of(index: ForegroundIndex, merged: Sequence[int]) -> dict[int, np.ndarray]:
    """Flat indices of labelled voxels by representative above 0, with `merged` applied.

    Of a group of several classes, each has the share that it has of the group's voxels.
    """
    groups: dict[int, list[ClassVoxels]] = {}
    for class_id, voxels in sorted(index.items()):
        if merged[class_id] > 0:
            groups.setdefault(merged[class_id], []).append(voxels)
    return {representative: _joined(group) for representative, group in sorted(groups.items())}


def _candidate(volume: MappedCase, folder: Path) -> Candidate:
    foreground = foreground_of(index_volume(volume, folder), volume.merged)
    return Candidate(volume.case_id, volume.dataset, volume.merged, volume.shape_zyx, foreground)


def _joined(group: Sequence[ClassVoxels]) -> np.ndarray:
    total = sum(voxels.count for voxels in group)
    share = min(1.0, _VOXELS_PER_CLASS / total)
    return np.concatenate([_spread(v.flat, max(1, round(v.count * share))) for v in group])


def _search(volume: MappedCase) -> ForegroundIndex:
    label = volume.label.reshape(-1)
    flat = np.flatnonzero(label)
    values = label[flat]
    check_label(volume, int(values.max(initial=0)))
    found = {int(n): flat[values == n] for n in np.unique(values)}
    return {n: ClassVoxels(f.size, _spread(f, _VOXELS_PER_CLASS)) for n, f in found.items()}


def _spread(flat: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, evenly spread."""
    if flat.size <= most:
        return flat
    return flat[np.linspace(0, flat.size - 1, most).astype(np.int64)]


def _write(path: Path, index: ForegroundIndex) -> None:
    arrays = {f"{n}/flat": voxels.flat.astype(np.int64) for n, voxels in index.items()}
    counts = {f"{n}/count": np.array([voxels.count]) for n, voxels in index.items()}
    with whole_file(path) as temporary:
        save_file(arrays | counts, temporary)


def _read(path: Path, volume: MappedCase) -> ForegroundIndex | None:
    """The index in a file; none where there is no file, or not one that fits the volume."""
    try:
        arrays = load_file(path)
        classes = sorted({int(name.split("/")[0]) for name in arrays})
        index = {n: _class_voxels(arrays[f"{n}/count"], arrays[f"{n}/flat"]) for n in classes}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return index if _fits(index, volume) else None


def _class_voxels(count: np.ndarray, flat: np.ndarray) -> ClassVoxels:
    if flat.dtype != np.int64 or flat.ndim != 1 or not flat.size:
        msg = f"expected flat indices, got {flat.dtype} {flat.shape}"
        raise ValueError(msg)
    return ClassVoxels(int(count.item()), flat)


def _fits(index: ForegroundIndex, volume: MappedCase) -> bool:
    voxels = int(np.prod(volume.shape_zyx))
    return all(
        0 < n < len(volume.merged)
        and v.flat.size <= v.count <= voxels
        and 0 <= v.flat.min() <= v.flat.max() < voxels
        for n, v in index.items()
    )
