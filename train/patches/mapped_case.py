"""Harmonised cases on disk, read through memory maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from torch import Tensor

from manifests.classes.completion import is_finer
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import is_merged
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from manifests.table.volume_files import ROW, file_mismatches
from train.boxes import Triple

HuArray = Int16[np.ndarray, "z y x"]
LabelArray = UInt8[np.ndarray, "z y x"]


@dataclass(frozen=True)
class MappedFile:
    """Where the voxels of an uncompressed NIfTI file are.

    Attributes:
        offset: Bytes before the first voxel.
    """

    path: Path
    dtype: torch.dtype
    shape_zyx: Triple
    offset: int

    @property
    def voxel_bytes(self) -> int:
        """Return the size of the voxels."""
        return math.prod(self.shape_zyx) * self.dtype.itemsize

    def require_whole(self) -> None:
        """Refuse a file that was cut off since it was mapped: to read what is gone ends a process.

        One that was deleted, or replaced under its name, stays as it was for those who mapped it.

        Raises:
            TrainingError: The file is shorter than it was.
        """
        try:
            size = self.path.stat().st_size
        except OSError:
            return
        if size < self.offset + self.voxel_bytes:
            msg = (
                f"{self.path} was cut off while it was in use: expected "
                f"{self.offset + self.voxel_bytes} bytes, got {size}; prepare the case again, and "
                f"repeat the command to resume"
            )
            raise TrainingError(msg)

    def map(self) -> Tensor:
        """Return the voxels [z, y, x], which are read from the file when they are accessed.

        What is written to them does not reach the file.

        Raises:
            TrainingError: The file is gone.
        """
        # PyTorch closes a file once it is mapped, so that thousands of cases can be open
        size = self.offset + self.voxel_bytes
        try:
            content = torch.from_file(str(self.path), shared=False, size=size, dtype=torch.uint8)
        except RuntimeError as error:
            msg = (
                f"{self.path} cannot be read any more: {str(error).splitlines()[0]}; bring the "
                f"manifest's folder back, and repeat the command to resume"
            )
            raise TrainingError(msg) from error
        voxels = content[self.offset :]
        if self.offset % self.dtype.itemsize:  # allowed by NIfTI, and written by nobody
            voxels = voxels.clone()
        # x varies fastest in NIfTI: its [x, y, z] in Fortran order is our [z, y, x] in C order
        return voxels.view(self.dtype).view(self.shape_zyx)


@dataclass(frozen=True)
class MappedCompletion:
    """The label that a model completed.

    Attributes:
        merged: Representative of each class [N]: the case's, with some groups divided.
        file: Representatives, or `IGNORED` where the model was not sure, uint8.
    """

    merged: tuple[int, ...]
    file: MappedFile


@dataclass(frozen=True)
class MappedCase:
    """One harmonised case.

    Attributes:
        merged: Representative of each class [N].
        image_file: Hounsfield units, int16.
        label_file: Class ids before `merged` is applied, or `IGNORED`, uint8.
        completion: Only if it was asked for, and the case has one.
    """

    case_id: str
    dataset: str
    merged: tuple[int, ...]
    image_file: MappedFile
    label_file: MappedFile
    label_sha256: str
    completion: MappedCompletion | None = None

    @property
    def files(self) -> tuple[MappedFile, ...]:
        """Return the files of the image, the label and the completed label, if there is one."""
        return self.image_file, self.label_file, *((c.file,) if (c := self.completion) else ())

    @property
    def shape_zyx(self) -> Triple:
        """Return the number of voxels along z, y, x."""
        return self.image_file.shape_zyx

    @property
    def image(self) -> HuArray:
        """Return Hounsfield units [z, y, x]."""
        return self.image_file.map().numpy()

    @property
    def label(self) -> LabelArray:
        """Return class ids [z, y, x] before `merged` is applied."""
        return self.label_file.map().numpy()


def open_case(manifest: Manifest, case: Case, *, completed: bool = False) -> MappedCase:
    """Find a case's voxels and check that the files are what the manifest says.

    The label that a model completed is left alone unless it is asked for.

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
    row = {name: getattr(case, name) for name in ROW}
    if completed:
        row["completed"] = case.completed
    if faults := list(file_mismatches(manifest, row)):
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
        _mapped_file(manifest.path(case.image), case, torch.int16),
        _mapped_file(manifest.path(case.label), case, torch.uint8),
        case.label_sha256,
        _completion(manifest, case) if completed and case.completed else None,
    )


def _completion(manifest: Manifest, case: Case) -> MappedCompletion:
    finer, path = case.completed_merged or (), manifest.path(case.completed or "")
    if not is_finer(finer, case.merged):
        msg = (
            f"case {case.case_id}: completed_merged is {finer}, expected the groups of merged, "
            f"{case.merged}, or parts of them; complete the case again"
        )
        raise TrainingError(msg)
    return MappedCompletion(finer, _mapped_file(path, case, torch.uint8))


def read_target(case: MappedCase) -> LabelArray:
    """Return the whole label volume with the case's `merged` applied; `IGNORED` stays.

    Raises:
        TrainingError: It holds a value that is no class.
    """
    label = case.label
    check_label(case, label)
    # applied here and not when the file is written: a manifest edit rewrites no volume
    return np.array(with_ignored(case.merged), np.uint8)[label]


def with_ignored(merged: Sequence[int]) -> tuple[int, ...]:
    """Return what each value of a label volume becomes: `merged`, then `IGNORED`."""
    return (*merged, *[IGNORED] * (IGNORED + 1 - len(merged)))


def check_label(
    case: MappedCase, label: np.ndarray | Tensor, file: MappedFile | None = None
) -> None:
    """Refuse a label volume, or a part of one, that holds a value that is no class.

    `file` is the one that it is of, if not the annotator's.

    Raises:
        TrainingError: A value is neither below the number of classes nor `IGNORED`.
    """
    largest = int(label.max()) if math.prod(label.shape) else 0
    if largest == IGNORED:
        looked_at = label[label != IGNORED]
        largest = int(looked_at.max()) if len(looked_at) else 0
    if largest >= len(case.merged):
        msg = (
            f"case {case.case_id}: {(file or case.label_file).path} holds the value {largest}, "
            f"expected class ids below {len(case.merged)}, or {IGNORED} where nobody looked; "
            f"prepare the case again"
        )
        raise TrainingError(msg)


def _mapped_file(path: Path, case: Case, dtype: torch.dtype) -> MappedFile:
    z, y, x = reversed(case.size)
    # the voxels come last in the file, and its size is known to be right
    offset = path.stat().st_size - z * y * x * dtype.itemsize
    return MappedFile(path, dtype, (z, y, x), offset)
