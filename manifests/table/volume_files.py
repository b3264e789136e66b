"""The files of volumes: whether they exist, are whole, and agree with the manifest's rows."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ground.errors import ManifestError
from manifests.table.manifest import Manifest

DTYPES = {"image": np.dtype("<i2"), "label": np.dtype("u1"), "completed": np.dtype("u1")}
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
AFFINE_TOLERANCE_MM = 1e-2  # a header holds single precision

ROW = ("image", "label", "size", "spacing_mm", "origin_mm")  # what is needed of a row

Mismatch = tuple[str, str, str]  # column, expected, got


def file_mismatches(manifest: Manifest, row: dict[str, Any]) -> Iterator[Mismatch]:
    """Yield what is wrong with the files of one row, by their headers and sizes; see `ROW`."""
    for column in _files_of(row):
        try:
            path = manifest.path(row[column])
        except ManifestError as error:
            yield column, "a path inside the manifest's folder", str(error)
            continue
        if not path.is_file():
            yield column, "a file", f"nothing at {path}"
            continue
        for expected, got in _header_mismatches(path, DTYPES[column], row):
            yield column, expected, got


def hash_mismatches(manifest: Manifest, row: dict[str, Any]) -> Iterator[Mismatch]:
    """Yield the files of one row that are not those that were written, without missing ones."""
    for column in _files_of(row):
        try:
            with manifest.path(row[column]).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (ManifestError, OSError):
            continue
        if found != row[f"{column}_sha256"]:
            yield f"{column}_sha256", row[f"{column}_sha256"], found


def _files_of(row: dict[str, Any]) -> Iterator[str]:
    """Yield the columns that name a file: few cases have a completed label."""
    return (column for column in DTYPES if row.get(column) is not None)


def _header_mismatches(
    path: Path, dtype: np.dtype[Any], row: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    from nibabel.nifti1 import Nifti1Header  # slow to import
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        with path.open("rb") as file:
            header = Nifti1Header.from_fileobj(file)
        shape = tuple(int(n) for n in header.get_data_shape())
        stored, offset = header.get_data_dtype(), int(header.get_data_offset())
        scaling = header.get_slope_inter()
        affine_ras = np.array(header.get_best_affine(), dtype=np.float64)
    except (OSError, ValueError, HeaderDataError, WrapStructError) as error:
        yield "an uncompressed NIfTI-1 volume", f"{path}: {error}"
        return
    if shape != tuple(row["size"]):
        yield f"a volume of {row['size']} voxels", f"{list(shape)}"
    if stored != dtype:
        yield f"voxels of {dtype.name}, little-endian", f"{stored.name} ({stored.str})"
    stop = offset + math.prod(shape) * stored.itemsize
    if path.stat().st_size != stop:
        yield f"{stop} bytes, by the header", f"{path.stat().st_size} bytes"
    if scaling not in ((None, None), (1.0, 0.0)):
        yield "stored values that are the values", f"slope and intercept {scaling}"
    if not len(row["spacing_mm"]) == len(row["origin_mm"]) == 3:
        return  # another check reports it
    expected = np.eye(4)
    expected[:3, :3] = RAS_FROM_LPS * row["spacing_mm"]
    expected[:3, 3] = RAS_FROM_LPS @ row["origin_mm"]
    if not np.allclose(affine_ras, expected, rtol=0, atol=AFFINE_TOLERANCE_MM):
        words = "axes in LPS order with the row's spacing_mm and origin_mm: affine"
        yield f"{words} {expected.tolist()}", f"{affine_ras.tolist()}"
