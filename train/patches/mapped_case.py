"""Volumes: the harmonised cases on disk, read through memory maps."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from manifests.classes.merged import is_merged
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from manifests.table.volume_files import file_mismatches
from train.boxes import Triple

ImageVoxels = Int16[np.ndarray, "z y x"]
LabelVoxels = UInt8[np.ndarray, "z y x"]


@dataclass(frozen=True)
class MappedFile:
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
class MappedCase:
    """One harmonised case.

    Attributes:
        case_id: The manifest's.
        dataset: The manifest's.
        merged: Representative of each class [N].
        image_file: Hounsfield units, int16.
        label_file: Representatives as they were written, uint8: `merged` is yet to be applied.
        label_sha256: The manifest's digest of the label file.
    """

    case_id: str
    dataset: str
    merged: tuple[int, ...]
    image_file: MappedFile
    label_file: MappedFile
    label_sha256: str

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


def open_case(manifest: Manifest, case: Case) -> MappedCase:
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
    if faults := list(file_mismatches(manifest, case.to_row())):
        column, expected, got = faults[0]
        msg = (
            f"case {case.case_id}: {column}: expected {expected}, got {got}; prepare the case "
            f"again, or see `marginalia validate`"
        )
        raise TrainingError(msg)
    return MappedCase(
        case.case_id,
        case.dataset,
        case.merged,
        _volume_file(manifest.path(case.image), case, np.int16),
        _volume_file(manifest.path(case.label), case, np.uint8),
        case.label_sha256,
    )


def read_target(volume: MappedCase) -> LabelVoxels:
    """The whole label volume with the case's `merged` applied.

    Raises:
        TrainingError: It holds a value that is no class.
    """
    label = volume.label
    check_label(volume, int(label.max()))
    # applied here and not when the file was written: a manifest edit needs no volume rewritten
    return np.array(volume.merged, np.uint8)[label]


def check_label(volume: MappedCase, largest: int) -> None:
    """Refuse a label file whose largest value is no class.

    Raises:
        TrainingError: It is not below the number of classes.
    """
    if largest >= len(volume.merged):
        msg = (
            f"case {volume.case_id}: {volume.label_file.path} holds the value {largest}, "
            f"expected class ids below {len(volume.merged)}; prepare the case again"
        )
        raise TrainingError(msg)


def _volume_file(path: Path, case: Case, dtype: type[np.generic]) -> MappedFile:
    z, y, x = reversed(case.size)
    # the voxels come last in the file, and its size is known to be right
    offset = path.stat().st_size - z * y * x * np.dtype(dtype).itemsize
    return MappedFile(path, np.dtype(dtype), (z, y, x), offset)
