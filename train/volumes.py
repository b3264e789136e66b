"""Volumes: the harmonised cases on disk, read through memory maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16, UInt8

from manifests.case import Case
from manifests.errors import TrainingError
from manifests.grid import AIR_HU
from manifests.manifest import Manifest
from manifests.merged import is_merged
from manifests.volume_files import file_faults

ImageVoxels = Int16[np.ndarray, "z y x"]
LabelVoxels = UInt8[np.ndarray, "z y x"]
Triple = tuple[int, int, int]

_PAD_HU = int(AIR_HU)
_PAD_LABEL = 0
_VOXELS_PER_CLASS = 2000


@dataclass(frozen=True)
class VolumeFile:
    """Where the voxels of an uncompressed NIfTI file lie.

    Attributes:
        path: The file.
        dtype: Type of the voxels.
        shape_zyx: Voxels along z, y, x.
        offset: Bytes before the first voxel.
    """

    path: Path
    dtype: np.dtype
    shape_zyx: Triple
    offset: int

    def map(self) -> np.ndarray:
        """The voxels [z, y, x], which are read when they are looked at."""
        # x varies fastest in NIfTI: its [x, y, z] in Fortran order is our [z, y, x] in C order
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape_zyx)


@dataclass(frozen=True)
class Volume:
    """One harmonised case.

    Attributes:
        case_id: The manifest's.
        dataset: The manifest's.
        merged: Representative of each class [N].
        image_file: Hounsfield units, int16.
        label_file: Representatives as they were written, uint8: `merged` is yet to be applied.
    """

    case_id: str
    dataset: str
    merged: tuple[int, ...]
    image_file: VolumeFile
    label_file: VolumeFile

    @property
    def shape_zyx(self) -> Triple:
        """Voxels along z, y, x."""
        return self.image_file.shape_zyx

    @property
    def image(self) -> ImageVoxels:
        """Hounsfield units [z, y, x]."""
        # mapped anew at each access: a map keeps a file open, and there may be thousands of cases
        return self.image_file.map()

    @property
    def label(self) -> LabelVoxels:
        """Class ids [z, y, x] as they were written, before `merged`."""
        return self.label_file.map()

    @cached_property
    def foreground(self) -> Mapping[int, np.ndarray]:
        """Flat indices of labelled voxels, by representative above 0; some of them where many.

        Raises:
            TrainingError: The label volume holds a value that is no class.
        """
        label = self.label.reshape(-1)
        flat = np.flatnonzero(label)
        values = _represent(self, label[flat])
        return {int(n): _some(flat[values == n]) for n in np.unique(values) if n > 0}


class Patch(NamedTuple):
    """A box cut from a case.

    Attributes:
        hu: Hounsfield units.
        target: Representatives, with the case's `merged` applied.
    """

    hu: ImageVoxels
    target: LabelVoxels


def open_volume(manifest: Manifest, case: Case) -> Volume:
    """Find a case's voxels and check that the files are what the manifest says.

    Raises:
        TrainingError: A file is missing, leaves the manifest's folder, is no uncompressed NIfTI, or
            is of another type, size or place; or the merged classes do not fit the label space.
    """
    if len(case.merged) != len(manifest.label_space) or not is_merged(case.merged):
        msg = (
            f"case {case.case_id}: merged is {case.merged}, expected the representatives of the "
            f"{len(manifest.label_space)} classes of label space {manifest.label_space.name!r}; "
            f"`marginalia validate` says more"
        )
        raise TrainingError(msg)
    if faults := list(file_faults(manifest, case.to_row())):
        column, expected, got = faults[0]
        msg = (
            f"case {case.case_id}: {column}: expected {expected}, got {got}; prepare the case "
            f"again, or see `marginalia validate`"
        )
        raise TrainingError(msg)
    return Volume(
        case.case_id,
        case.dataset,
        case.merged,
        _volume_file(manifest.path(case.image), case, np.int16),
        _volume_file(manifest.path(case.label), case, np.uint8),
    )


def read_patch(volume: Volume, centre_zyx: Triple, size_zyx: Triple) -> Patch:
    """Cut a box around a voxel; it is moved to lie within the volume along each axis that allows.

    Beyond the volume, the image is air, the least that a scanner reports, and the target is the
    background's group: what lies outside the scan holds no labelled organ, and where background
    stands for organs that the annotator left out, it claims nothing of them either.
    """
    starts = [
        _start(c, n, limit)
        for c, n, limit in zip(centre_zyx, size_zyx, volume.shape_zyx, strict=True)
    ]
    hu = _cut(volume.image, starts, size_zyx, _PAD_HU)
    label = _cut(volume.label, starts, size_zyx, _PAD_LABEL)
    # applied here and not when the files were written: a manifest edit needs no volume rewritten
    return Patch(hu, _represent(volume, label))


def read_target(volume: Volume) -> LabelVoxels:
    """The whole label volume with the case's `merged` applied.

    Raises:
        TrainingError: It holds a value that is no class.
    """
    return _represent(volume, volume.label)


def _start(centre: int, size: int, limit: int) -> int:
    if size >= limit:
        return (limit - size) // 2
    return min(max(centre - size // 2, 0), limit - size)


def _cut(array: np.ndarray, starts: list[int], size_zyx: Triple, fill: int) -> np.ndarray:
    patch = np.full(size_zyx, fill, array.dtype)
    inside = [
        slice(max(s, 0), min(s + n, limit))
        for s, n, limit in zip(starts, size_zyx, array.shape, strict=True)
    ]
    there = [slice(i.start - s, i.stop - s) for i, s in zip(inside, starts, strict=True)]
    patch[tuple(there)] = array[tuple(inside)]
    return patch


def _represent(volume: Volume, label: np.ndarray) -> np.ndarray:
    """Send class ids to the representatives of a case, whatever their shape."""
    if label.size and label.max() >= len(volume.merged):
        msg = (
            f"case {volume.case_id}: {volume.label_file.path} holds the value {label.max()}, "
            f"expected class ids below {len(volume.merged)}; prepare the case again"
        )
        raise TrainingError(msg)
    return np.array(volume.merged, np.uint8)[label]


def _some(flat: np.ndarray) -> np.ndarray:
    """At most a bounded number of them, evenly spread."""
    if flat.size <= _VOXELS_PER_CLASS:
        return flat
    return flat[np.linspace(0, flat.size - 1, _VOXELS_PER_CLASS).astype(np.int64)]


def _volume_file(path: Path, case: Case, dtype: type[np.generic]) -> VolumeFile:
    z, y, x = reversed(case.size)
    # the voxels come last in the file, and its size is known to be right
    offset = path.stat().st_size - z * y * x * np.dtype(dtype).itemsize
    return VolumeFile(path, np.dtype(dtype), (z, y, x), offset)
