"""The one reader of volumes: NIfTI, a folder of DICOM slices, and what else ITK reads."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.errors import GeometryError
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.dicom import read_dicom
from manifests.volumes.readers.nifti import GZIP_MAX_RATIO, read_nifti
from manifests.volumes.readers.nifti import SUFFIXES as NIFTI_SUFFIXES

MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 50.0
OBLIQUE_DEGREES = 0.1
# An image's header may name other files; only these hold their voxels themselves.
SINGLE_FILES = (".nrrd", ".mha")


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie.

    Attributes:
        voxels: Any number type, [z, y, x].
        grid: Where they lie.
        findings: What was noticed when they were read.
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


def read_volume(path: Path) -> Volume:
    """Read one volume and believe nothing: sizes are checked before anything is allocated.

    Args:
        path: A file, or a folder that holds one DICOM series.

    Raises:
        SetAsideError: It is not there, is damaged, or is something else than one 3-D volume.
    """
    try:
        if path.is_dir():
            voxels, grid, findings = read_dicom(path)
        elif not path.exists():
            raise SetAsideError(Finding("file_missing", f"{path} does not exist"))
        elif path.name.lower().endswith(NIFTI_SUFFIXES):
            voxels, grid, findings = read_nifti(path)
        else:
            voxels, grid, findings = _read_other(path)
    except GeometryError as error:
        raise SetAsideError(Finding("geometry_invalid", f"{path}: {error}")) from error
    _check_spacing(grid, path)
    return Volume(voxels, grid, (*findings, *_axes(grid)))


def _read_other(path: Path) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        findings = _check_claim(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{path}: {last_line(error)}")) from error
    if findings:
        image = image[(slice(None), slice(None), slice(None), *[0] * (image.GetDimension() - 3))]
    return sitk.GetArrayFromImage(image), Grid.of(image), findings


def _check_claim(reader: sitk.ImageFileReader, path: Path) -> tuple[Finding, ...]:
    sizes = reader.GetSize()
    claim = f"{path}: the header claims {' x '.join(map(str, sizes))} voxels"
    if reader.GetNumberOfComponents() != 1 or math.prod(sizes[3:]) > 1:
        reason = f"{claim} with {reader.GetNumberOfComponents()} values each; expected one volume"
        raise SetAsideError(Finding("several_volumes", reason))
    bytes_limit = path.stat().st_size * GZIP_MAX_RATIO
    single = path.name.lower().endswith(SINGLE_FILES)
    if math.prod(sizes) > (min(MAX_VOXELS, bytes_limit) if single else MAX_VOXELS):
        reason = f"{claim}; its {path.stat().st_size:,} bytes cannot hold them, or nobody could"
        raise SetAsideError(Finding("header_implausible", reason))
    return (Finding("single_volume_4d", f"size {sizes}"),) if len(sizes) > 3 else ()


def _check_spacing(grid: Grid, path: Path) -> None:
    if not all(MIN_SPACING_MM <= s <= MAX_SPACING_MM for s in grid.spacing_mm):
        reason = (
            f"{path}: expected a spacing of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm; "
            f"got {grid.spacing_mm}"
        )
        raise SetAsideError(Finding("geometry_invalid", reason))


def _axes(grid: Grid) -> list[Finding]:
    axes = np.asarray(grid.direction_lps).reshape(3, 3)
    degrees = math.degrees(math.acos(min(1.0, float(np.abs(axes).max(axis=0).min()))))
    findings: list[Finding] = []
    if degrees > OBLIQUE_DEGREES:
        findings.append(Finding("axes_oblique", f"by {degrees:.1f} degrees"))
    if np.linalg.det(axes) < 0:
        findings.append(Finding("axes_left_handed", f"direction {grid.direction_lps} (LPS)"))
    return findings


def last_line(error: BaseException) -> str:
    """The last line of an error's text, where ITK tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
