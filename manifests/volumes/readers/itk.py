"""Reading a volume in any other format that ITK knows, such as NRRD and MetaImage."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.nifti import GZIP_MAX_RATIO

# An image's header may name other files; only these hold their voxels themselves.
SINGLE_FILES = (".nrrd", ".mha")


def read_itk(path: Path) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    """Read one volume; further dimensions of size 1 are dropped."""
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
        reason = f"{claim}; too many for its {path.stat().st_size:,} bytes, or for any volume"
        raise SetAsideError(Finding("header_implausible", reason))
    return (Finding("single_volume_4d", f"size {sizes}"),) if len(sizes) > 3 else ()


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text, where ITK tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
