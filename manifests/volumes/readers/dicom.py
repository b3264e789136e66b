"""Reading DICOM slices: a folder of them, or a file of many; ITK's GDCM decodes their pixels."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.dicom_series import SeriesPlan, plan_volume
from manifests.volumes.readers.dicom_slice import GDCM, Slice, is_dicom, read_slices
from manifests.volumes.readers.itk import last_line, read_stored
from manifests.volumes.readers.layers import on_grid
from manifests.volumes.readers.repairs import AS_USUAL, OF_LABELS, Repairs
from manifests.volumes.readers.right_angles import at_right_angles

# What pixels are decoded by; without the rest, GDCM gives them as they are stored.
PIXEL_FORMAT = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable"),
    "ExtendedOffsetTableLengths",
)
MULTIFRAME_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"  # of 16 bits


def read_dicom(
    path: Path,
    repairs: Repairs = AS_USUAL,
    *,
    series: Collection[str] = (),
    is_label: bool = False,
) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    """Read the only CT series of a folder and of the folders in it, or of a file, in HU.

    With `series`, UIDs of series, the others do not count.
    """
    plan = plan_series(path, repairs, series=series)
    size_xyz = (*plan.slices[0].size_xy, len(plan.slices))
    if math.prod(size_xyz) > MAX_VOXELS:
        reason = f"{path}: {size_xyz} voxels; expected at most {MAX_VOXELS:,}"
        raise SetAsideError(Finding("header_implausible", reason))
    voxels, affine = _stacked(plan.slices), plan.layers.affine(plan.step_mm)
    if plan.resampled:
        voxels, affine = on_grid(voxels, plan.layers, plan.step_mm, is_label=is_label)
    z, y, x = voxels.shape
    grid, skewed = at_right_angles(affine, (x, y, z), path)
    return voxels, grid, (*plan.findings, *skewed)


def plan_series(
    path: Path, repairs: Repairs = AS_USUAL, *, series: Collection[str] = ()
) -> SeriesPlan:
    """Return which slices `read_dicom` stacks, and where; the errors are the same."""
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    read = {file: read_slices(file) for file in files}
    slices = [s for found in read.values() for s in found or ()]
    if not slices:
        reason = f"{path}: expected a file, or a folder of DICOM slices; got no DICOM image in it"
        raise SetAsideError(Finding("unreadable", reason))
    if series:
        slices = _of_series(slices, series, path)
    damaged = [file for file, found in read.items() if found is None and is_dicom(file)]
    return plan_volume(slices, _same_pixels, path, damaged=damaged, repairs=repairs)


def slice_files(folder: Path) -> list[Path]:
    """Return the files whose slices `read_dicom` stacks, in order; the errors are the same.

    Raises:
        SetAsideError: There is no file for each layer of the volume.
    """
    plan = plan_series(folder, OF_LABELS)  # whoever read the volume was asked for repairs
    if plan.resampled or plan.slices[0].frame is not None:
        got = "were resampled to a grid" if plan.resampled else "lie in one file"
        reason = f"{folder}: expected a file for each layer of the volume; got slices that {got}"
        raise SetAsideError(Finding("dicom_not_volume", reason))
    return [s.path for s in plan.slices]


def series_of(path: Path) -> str | None:
    """Return the UID of a file's DICOM series, maybe empty; None if it is no DICOM image."""
    slices = read_slices(path)
    return slices[0].series if slices else None


def _of_series(slices: list[Slice], series: Collection[str], place: Path) -> list[Slice]:
    kept = [s for s in slices if s.series in series]
    if not kept:
        counts = Counter(uid for uid, _ in {(s.series, s.path) for s in slices})
        got = ", ".join(f"{uid} ({n} files)" for uid, n in counts.items())
        reason = (
            f"{place}: expected the series {' or '.join(sorted(series))}, to which the label "
            f"refers, by SeriesInstanceUID (0020,000e); got {got}"
        )
        raise SetAsideError(Finding("dicom_series_other", reason))
    return kept


def _same_pixels(one: Slice, other: Slice) -> bool:
    return np.array_equal(_pixels(one), _pixels(other))


def _stacked(slices: list[Slice]) -> NDArray[Any]:
    """Put the slices on top of each other, in a number type that holds all of their values."""
    x, y = slices[0].size_xy
    voxels = np.empty((len(slices), y, x), np.int16)
    for number, part in enumerate(slices):
        pixels = _pixels(part)
        wanted = np.result_type(voxels.dtype, np.float32 if pixels.dtype.kind == "f" else pixels)
        if wanted != voxels.dtype and not np.array_equal(pixels.astype(voxels.dtype), pixels):
            voxels = voxels.astype(wanted)
        voxels[number] = pixels
    return voxels


def _pixels(part: Slice) -> NDArray[Any]:
    """Return the pixels [y, x] of a slice: stored value x slope + intercept."""
    try:
        if part.frame is None:
            return sitk.GetArrayFromImage(read_stored(_reader(part.path), part.path))[0]
        stored = _frames(part.path)[part.frame]
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{part.path}: {last_line(error)}")) from error
    slope, intercept = part.rescale or (1.0, 0.0)
    if slope % 1 == intercept % 1 == 0:
        return stored.astype(np.int32) * int(slope) + int(intercept)
    return (stored * slope + intercept).astype(np.float32)


@lru_cache(maxsize=1)
def _frames(path: Path) -> NDArray[Any]:
    """Return the stored values [frame, y, x] of a file of several images.

    GDCM applies one slope and intercept to all frames, where each may have its own, and finds no
    place for frames in any order: it is given a copy that holds the pixels alone.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, generate_uid

    whole = pydicom.dcmread(path, force=True)
    bare, meta = pydicom.Dataset(), FileMetaDataset()
    for name in PIXEL_FORMAT:
        if name in whole:
            bare[name] = whole[name]
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.SOPClassUID, bare.SOPInstanceUID = UID(MULTIFRAME_CAPTURE), generate_uid()
    meta.TransferSyntaxUID = whole.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = UID(MULTIFRAME_CAPTURE)
    meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    bare.file_meta = meta
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "frames.dcm"
        bare.save_as(copy, enforce_file_format=True)
        return sitk.GetArrayFromImage(_reader(copy).Execute())


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(GDCM)
    return reader
