"""Volumes, and how they are read and written.

NIfTI, a folder of DICOM slices, and whatever else ITK reads.
"""

import errno
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.atomic import whole_file
from manifests.ground.errors import GeometryError
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_SPACING_MM, MIN_SPACING_MM, Grid, is_possible
from manifests.volumes.readers.dicom import read_dicom
from manifests.volumes.readers.dicom_slice import is_dicom
from manifests.volumes.readers.itk import read_itk
from manifests.volumes.readers.nifti import SUFFIXES as NIFTI_SUFFIXES
from manifests.volumes.readers.nifti import read_nifti
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.readers.slicer import read_layers

OBLIQUE_DEGREES = 0.1
NIFTI_HEADER_BYTES = 352  # of NIfTI-1 in one file, without extensions
INTENT_OFFSET, INTENT_LABEL = 68, 1002  # of NIfTI-1: NIFTI_INTENT_LABEL


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie.

    Attributes:
        voxels: Any number type, [z, y, x].
    """

    voxels: NDArray[Any]
    grid: Grid
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, image: sitk.Image) -> Self:
        """Copy a 3-D image with one value per voxel out of ITK.

        Raises:
            GeometryError: It is something else, or its header makes no sense.
        """
        grid = Grid.of(image)
        return cls(sitk.GetArrayFromImage(image), grid)

    def masked(self, kept: NDArray[np.bool_]) -> "Volume":
        """Return the volume with 0 wherever a mask [z, y, x] is not."""
        return Volume(np.where(kept, self.voxels, self.voxels.dtype.type(0)), self.grid)


def read_volume(
    path: Path,
    repairs: Repairs = AS_USUAL,
    *,
    series: Collection[str] = (),
    is_label: bool = False,
) -> Volume:
    """Read a file, or a folder that holds one DICOM series; trust no header.

    Sizes are checked before anything is allocated.

    Args:
        path: One slice alone is no volume.
        repairs: What may be done to a scan whose slices do not make up a grid.
        series: UIDs of DICOM series; others in the folder do not count. None: all do.
        is_label: Whether voxels are values that a repair must not mix.

    Raises:
        SetAsideError: It does not exist, is damaged, or is something other than one 3-D volume.
    """
    try:
        if not path.exists():
            raise SetAsideError(Finding("file_missing", f"{path} does not exist"))
        if path.name.lower().endswith(NIFTI_SUFFIXES) and path.is_file():
            voxels, grid, findings = read_nifti(path)
        elif path.is_dir() or is_dicom(path):
            voxels, grid, findings = read_dicom(path, repairs, series=series, is_label=is_label)
        else:
            voxels, grid, findings = read_itk(path)
    except GeometryError as error:
        raise SetAsideError(Finding("geometry_invalid", f"{path}: {error}")) from error
    return Volume(voxels, grid, (*findings, *_of_grid(grid, path)))


def read_layered(path: Path) -> list[Volume]:
    """Read the layers of a segmentation of 3D Slicer's, each of which is a volume.

    Raises:
        SetAsideError: It does not exist, is damaged, or has no layers of three dimensions.
    """
    try:
        layers, grid, findings = read_layers(path)
    except GeometryError as error:
        raise SetAsideError(Finding("geometry_invalid", f"{path}: {error}")) from error
    every = (*findings, *_of_grid(grid, path))
    return [Volume(voxels, grid, every) for voxels in layers]


def _of_grid(grid: Grid, path: Path) -> list[Finding]:
    """Return what is noticed of a grid, and refuse one that no scan has."""
    if not is_possible(grid.spacing_mm):
        reason = (
            f"{path}: expected a spacing of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm; "
            f"got {grid.spacing_mm}"
        )
        raise SetAsideError(Finding("geometry_invalid", reason))
    return _axis_findings(grid)


def _axis_findings(grid: Grid) -> list[Finding]:
    axes = np.asarray(grid.direction_lps).reshape(3, 3)
    degrees = math.degrees(math.acos(min(1.0, float(np.abs(axes).max(axis=0).min()))))
    findings: list[Finding] = []
    if degrees > OBLIQUE_DEGREES:
        findings.append(Finding("axes_oblique", f"by {degrees:.1f} degrees"))
    if np.linalg.det(axes) < 0:
        findings.append(Finding("axes_left_handed", f"direction {grid.direction_lps} (LPS)"))
    return findings


def write_volume(volume: Volume, path: Path, *, is_label: bool = False) -> None:
    """Write an uncompressed NIfTI file, whole or not at all.

    A label says so in its header, by which a viewer takes colours in place of greys.

    Raises:
        OSError: The disk took only a part of it.
    """
    expected = NIFTI_HEADER_BYTES + volume.voxels.nbytes
    with whole_file(path) as temporary:
        sitk.WriteImage(volume.grid.image(volume.voxels), str(temporary), useCompression=False)
        if is_label:
            with temporary.open("r+b") as file:  # ITK writes no intent
                file.seek(INTENT_OFFSET)
                file.write(INTENT_LABEL.to_bytes(2, "little"))
        written = temporary.stat().st_size
        if written != expected:  # SimpleITK does not report a full disk
            msg = f"{written:,} of {expected:,} bytes could be written"
            raise OSError(errno.ENOSPC, msg, path.name)
