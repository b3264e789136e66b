"""The volumes that a manifest names: whether the files are there, whole and what the rows say."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from manifests.ground.errors import ManifestError
from manifests.table.manifest import Manifest

DTYPES = {"image": np.dtype("<i2"), "label": np.dtype("u1")}
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
AFFINE_TOLERANCE_MM = 1e-2  # a header holds single precision

Said = tuple[str, str]  # expected, got
Fault = tuple[str, str, str]  # column, expected, got


@dataclass(frozen=True)
class VolumeHeader:
    """What a NIfTI-1 header says.

    Attributes:
        shape: Voxels along each axis.
        dtype: Of the stored values.
        offset: Bytes before the first voxel.
        scaling: Slope and intercept of the stored values; None where there is none.
        affine_ras: The 4 x 4 matrix from indices to RAS millimetres.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float | None, float | None]
    affine_ras: NDArray[np.float64]


def file_faults(manifest: Manifest, row: dict[str, Any]) -> Iterator[Fault]:
    """What is wrong with the files of one row, as far as headers and sizes tell."""
    for column, dtype in DTYPES.items():
        try:
            path = manifest.path(row[column])
        except ManifestError as error:
            yield column, "a path inside the manifest's folder", str(error)
            continue
        if not path.is_file():
            yield column, "a file", f"nothing at {path}"
            continue
        for expected, got in _header_faults(path, dtype, row):
            yield column, expected, got


def hash_faults(manifest: Manifest, row: dict[str, Any]) -> Iterator[Fault]:
    """Which files of one row are not those that were written; missing ones are left out."""
    for column in DTYPES:
        try:
            path = manifest.path(row[column])
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (ManifestError, OSError):
            continue
        if found != row[f"{column}_sha256"]:
            yield f"{column}_sha256", row[f"{column}_sha256"], found


def _header_faults(path: Path, dtype: np.dtype[Any], row: dict[str, Any]) -> Iterator[Said]:
    try:
        header = _read_header(path)
    except (OSError, ValueError, HeaderDataError, WrapStructError) as error:
        yield "an uncompressed NIfTI-1 volume", f"{path}: {error}"
        return
    if header.shape != tuple(row["size"]):
        yield f"a volume of {row['size']} voxels", f"{list(header.shape)}"
    if header.dtype != dtype:
        yield f"voxels of {dtype.name}, little-endian", f"{header.dtype.name} ({header.dtype.str})"
    stop = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if path.stat().st_size != stop:
        yield f"{stop} bytes, by the header", f"{path.stat().st_size} bytes"
    if header.scaling not in ((None, None), (1.0, 0.0)):
        yield "stored values that are the values", f"slope and intercept {header.scaling}"
    yield from _affine_faults(header.affine_ras, row)


def _affine_faults(affine_ras: NDArray[np.float64], row: dict[str, Any]) -> Iterator[Said]:
    if not len(row["spacing_mm"]) == len(row["origin_mm"]) == 3:
        return  # told by another check
    expected = np.eye(4)
    expected[:3, :3] = RAS_FROM_LPS * row["spacing_mm"]
    expected[:3, 3] = RAS_FROM_LPS @ row["origin_mm"]
    if not np.allclose(affine_ras, expected, rtol=0, atol=AFFINE_TOLERANCE_MM):
        words = "axes in LPS order with the row's spacing_mm and origin_mm: affine"
        yield f"{words} {expected.tolist()}", f"{affine_ras.tolist()}"


def _read_header(path: Path) -> VolumeHeader:
    with path.open("rb") as file:
        header = Nifti1Header.from_fileobj(file)
    return VolumeHeader(
        shape=tuple(int(n) for n in header.get_data_shape()),
        dtype=header.get_data_dtype(),
        offset=int(header.get_data_offset()),
        scaling=header.get_slope_inter(),
        affine_ras=np.array(header.get_best_affine(), dtype=np.float64),
    )
