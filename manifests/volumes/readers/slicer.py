"""Reading 3D Slicer's segmentations (`.seg.nrrd`): named segments, in layers where they overlap."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.itk import affine_of, last_line
from manifests.volumes.readers.nifti import GZIP_MAX_RATIO
from manifests.volumes.readers.right_angles import at_right_angles

SUFFIX = ".seg.nrrd"  # as Slicer writes it; the case does not count


@dataclass(frozen=True)
class SlicerSegment:
    """One segment.

    Attributes:
        layer: Which of the file's layers it is in, from 0 on.
        value: Its value there; segments of other layers may have the same one.
        tags: What else Slicer knows of it, as in `Segmentation.Status:done|`.
    """

    name: str
    layer: int
    value: int
    tags: str = ""


def is_slicer(path: Path) -> bool:
    """Return whether a file's name is that of a segmentation of Slicer's."""
    return path.name.lower().endswith(SUFFIX)


def read_segments(path: Path) -> list[SlicerSegment]:
    """Read the header of a segmentation: its segments, in the order of the file.

    What a header does not say is as Slicer takes it: value 1, and a layer for each segment, as
    files of versions before 4.11 have it.

    Raises:
        SetAsideError: It is not there or damaged, or two segments are the same voxels.
    """
    reader = _reader(path)
    known = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    found: list[SlicerSegment] = []
    while (key := f"Segment{len(found)}_") + "ID" in known or f"{key}Name" in known:
        number = len(found)
        name = known.get(f"{key}Name") or known[f"{key}ID"]
        try:
            layer = int(known.get(f"{key}Layer", number))
            value = int(known.get(f"{key}LabelValue", 1))
        except ValueError as error:
            reason = f"{path}: segment {name!r}: expected whole numbers of layer and value; {error}"
            raise SetAsideError(Finding("unreadable", reason)) from error
        found.append(SlicerSegment(name.strip(), layer, value, known.get(f"{key}Tags", "")))
    places = [(s.layer, s.value) for s in found]
    if twice := [s for s in found if places.count((s.layer, s.value)) > 1]:
        reason = f"{path}: expected a value for each segment of a layer; got {twice[0].value} twice"
        raise SetAsideError(Finding("unreadable", f"{reason}, as of {twice[0].name!r}"))
    return found


def read_layers(path: Path) -> tuple[list[NDArray[Any]], Grid, tuple[Finding, ...]]:
    """Read the layers of a segmentation [z, y, x].

    Raises:
        SetAsideError: It is damaged, or no segmentation of layers.
    """
    reader = _reader(path)
    layers = reader.GetNumberOfComponents()
    size = reader.GetSize()
    claim = f"{path}: the header claims {' x '.join(map(str, size))} voxels in {layers} layers"
    if len(size) != 3:
        reason = f"{claim}; expected three dimensions: save it again with a Slicer of today"
        raise SetAsideError(Finding("several_volumes", reason))
    if math.prod(size) * layers > min(MAX_VOXELS, path.stat().st_size * GZIP_MAX_RATIO):
        reason = f"{claim}; too many for its {path.stat().st_size:,} bytes, or for any volume"
        raise SetAsideError(Finding("header_implausible", reason))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{path}: {last_line(error)}")) from error
    grid, skewed = at_right_angles(affine_of(image), image.GetSize(), path)
    voxels = sitk.GetArrayFromImage(image)
    every = [voxels] if layers == 1 else [*np.moveaxis(voxels, -1, 0)]
    return every, grid, tuple(skewed)


def _reader(path: Path) -> sitk.ImageFileReader:
    if not path.exists():
        raise SetAsideError(Finding("file_missing", f"{path} does not exist"))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{path}: {last_line(error)}")) from error
    return reader
