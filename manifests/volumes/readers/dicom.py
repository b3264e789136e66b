"""Reading a folder of DICOM slices; ITK's GDCM decodes them and applies slope and intercept."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.dicom_series import Slice, plan_volume
from manifests.volumes.readers.itk import last_line, read_stored

GDCM = "GDCMImageIO"
MARK, MARK_STOP = b"DICM", 132  # of a DICOM file, after a preamble


def read_dicom(
    folder: Path, series: Collection[str] = ()
) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    """Read the only CT series of a folder and of the folders in it, in Hounsfield units.

    With `series`, UIDs of series, the others do not count.
    """
    paths, grid, findings = _plan(folder, series)
    if math.prod(grid.size_xyz) > MAX_VOXELS:
        reason = f"{folder}: {grid.size_xyz} voxels; expected at most {MAX_VOXELS:,}"
        raise SetAsideError(Finding("header_implausible", reason))
    return _stacked(paths, grid), grid, tuple(findings)


def slice_files(folder: Path) -> list[Path]:
    """Return the files whose slices `read_dicom` stacks, in order; the errors are the same."""
    return _plan(folder)[0]


def series_of(path: Path) -> str | None:
    """Return the UID of a file's DICOM series, maybe empty; None if it is no DICOM image."""
    header = _slice(path)
    return None if header is None else header.series


def _plan(folder: Path, series: Collection[str] = ()) -> tuple[list[Path], Grid, list[Finding]]:
    read = {p: _slice(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    slices = [s for s in read.values() if s is not None]
    if not slices:
        reason = f"{folder}: expected a file, or a folder of DICOM slices; got no DICOM file in it"
        raise SetAsideError(Finding("unreadable", reason))
    if series:
        slices = _of_series(slices, series, folder)
    damaged = [path for path, header in read.items() if header is None and _is_dicom(path)]
    return plan_volume(slices, lambda a, b: np.array_equal(_pixels(a), _pixels(b)), folder, damaged)


def _of_series(slices: list[Slice], series: Collection[str], folder: Path) -> list[Slice]:
    kept = [s for s in slices if s.series in series]
    if not kept:
        got = ", ".join(
            f"{uid} ({n} files)" for uid, n in Counter(s.series for s in slices).items()
        )
        reason = (
            f"{folder}: expected the series {' or '.join(sorted(series))}, to which the label "
            f"refers, by SeriesInstanceUID (0020,000e); got {got}"
        )
        raise SetAsideError(Finding("dicom_series_other", reason))
    return kept


def _is_dicom(path: Path) -> bool:
    """Tell whether a file begins as a DICOM file does."""
    with path.open("rb") as file:
        return file.read(MARK_STOP)[-len(MARK) :] == MARK


def _stacked(paths: list[Path], grid: Grid) -> NDArray[Any]:
    """Put the slices on top of each other, in a number type that holds all of their values."""
    x, y, z = grid.size_xyz
    voxels = np.empty((z, y, x), np.int16)
    for number, path in enumerate(paths):
        pixels = _pixels(path)
        wanted = np.result_type(voxels.dtype, np.float32 if pixels.dtype.kind == "f" else pixels)
        if wanted != voxels.dtype and not np.array_equal(pixels.astype(voxels.dtype), pixels):
            voxels = voxels.astype(wanted)
        voxels[number] = pixels
    return voxels


def _pixels(path: Path) -> NDArray[Any]:
    reader = _reader(path)
    try:
        image = read_stored(reader, path)
    except RuntimeError as error:
        raise SetAsideError(Finding("unreadable", f"{path}: {last_line(error)}")) from error
    return sitk.GetArrayFromImage(image)[0]


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(GDCM)
    return reader


def _slice(path: Path) -> Slice | None:
    """Read a file's header; None if it is no DICOM image."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def numbers(tag: str, count: int) -> tuple[float, ...] | None:
        try:
            found = tuple(float(v) for v in text(tag).split("\\"))
        except ValueError:
            return None
        return found if len(found) == count and all(map(math.isfinite, found)) else None

    position, spacing = numbers("0020|0032", 3), reader.GetSpacing()
    frames = numbers("0028|0008", 1) or (1.0,)
    return Slice(
        path=path,
        series=text("0020|000e"),
        modality=text("0008|0060"),
        image_type=tuple(text("0008|0008").split("\\")),
        frames=max(int(frames[0]), math.prod(reader.GetSize()[2:])),
        size_xy=(reader.GetSize()[0], reader.GetSize()[1]),
        spacing_xy_mm=(spacing[0], spacing[1]),
        position_mm=None if position is None else (position[0], position[1], position[2]),
        orientation=numbers("0020|0037", 6),
    )
