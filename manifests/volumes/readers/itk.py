"""Reading a volume in any other format that ITK knows, such as NRRD and MetaImage."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.nifti import GZIP_MAX_RATIO
from manifests.volumes.readers.right_angles import at_right_angles

# An image's header may name other files; only these hold their voxels themselves.
SINGLE_FILES = (".nrrd", ".mha")
PHOTOMETRY = "0028|0004"


def read_itk(path: Path) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    """Read one volume; further dimensions of size 1 are dropped."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        findings = _check_claim(reader, path)
        image = read_stored(reader, path)
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{path}: {last_line(error)}")) from error
    if findings:
        image = image[(slice(None), slice(None), slice(None), *[0] * (image.GetDimension() - 3))]
    grid, skewed = at_right_angles(affine_of(image), image.GetSize(), path)
    return sitk.GetArrayFromImage(image), grid, (*findings, *skewed)


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """Return the 4 x 4 matrix from indices to positions (mm, LPS) that a header says."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def read_stored(reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """Read the file of a reader; the values of DICOM are stored value x slope + intercept.

    GDCM turns those of MONOCHROME1 round, which says how to show them, not what they mean: a copy
    that says MONOCHROME2 is read in its place.

    Raises:
        SetAsideError: The file says so where it cannot be changed, as it is compressed as a whole.
    """
    image = reader.Execute()
    if not _is_turned_round(reader):
        return image
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "image.dcm"
        copy.write_bytes(path.read_bytes().replace(b"MONOCHROME1", b"MONOCHROME2"))
        reader.SetFileName(str(copy))
        image = reader.Execute()
    if _is_turned_round(reader):
        reason = f"{path}: expected MONOCHROME2, got MONOCHROME1 in a deflated file; inflate it"
        raise SetAsideError(Finding("unreadable", reason))
    return image


def _is_turned_round(reader: sitk.ImageFileReader) -> bool:
    known = reader.HasMetaDataKey(PHOTOMETRY)
    return known and reader.GetMetaData(PHOTOMETRY).strip(" \0") == "MONOCHROME1"


def _check_claim(reader: sitk.ImageFileReader, path: Path) -> tuple[Finding, ...]:
    sizes = reader.GetSize()
    claim = f"{path}: the header claims {' x '.join(map(str, sizes))} voxels"
    if reader.GetNumberOfComponents() != 1 or math.prod(sizes[3:]) > 1:
        reason = f"{claim} with {reader.GetNumberOfComponents()} values each; expected one volume"
        raise SetAsideError(Finding("several_volumes", reason))
    bytes_limit = path.stat().st_size * GZIP_MAX_RATIO
    single = path.name.lower().endswith(SINGLE_FILES)
    if math.prod(sizes) > (min(MAX_VOXELS, bytes_limit) if single else MAX_VOXELS):
        reason = f"{claim}; too many for its {path.stat().st_size:,} bytes, or for any volume"
        raise SetAsideError(Finding("header_implausible", reason))
    return (Finding("single_volume_4d", f"size {sizes}"),) if len(sizes) > 3 else ()


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text, where ITK tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
