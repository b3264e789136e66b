"""Reading the voxels of a NIfTI file: once, slab by slab, and no more than the file can hold.

ITK's own reader turns NaN and infinities of any NIfTI file into 0 before anyone sees them, takes
the qform where nibabel takes the sform, and does not look at a compressed file's checksum.
"""
# pyright: reportUnknownVariableType=false

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, isal_zlib
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import MAX_VOXELS, Grid
from manifests.volumes.readers.nifti_header import NiftiHeader, parse_header, raw_header

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
GZIP_MAGIC = b"\x1f\x8b"
GZIP_MAX_RATIO = 1032  # deflate cannot do better
SLAB_BYTES = 1 << 24
# `readinto` of isal 1.9.1, and of gzip, first makes all the bytes that are asked for
PIECE_BYTES = 1 << 20
MAX_OFFSET_BYTES = 1 << 24  # what extensions of a header may take


def read_nifti(path: Path) -> tuple[NDArray[Any], Grid, tuple[Finding, ...]]:
    """Read a volume, compressed or not, whatever its name says.

    Floats and scaled numbers become float32, other numbers stay what they are. The path is that of
    the file, or of either one of a pair `.hdr` and `.img`.
    """
    header_path, voxel_path = _pair(path)
    try:
        with _opened(header_path) as stream:
            header = parse_header(stream, path)
            _check_size(header, voxel_path)
            if voxel_path == header_path:
                return _read_voxels(stream, header), header.grid, header.findings
        with _opened(voxel_path) as stream:
            return _read_voxels(stream, header), header.grid, header.findings
    except EOFError as error:
        reason = f"{path} is cut off: {error}; get the file again"
        raise SetAsideError(Finding("truncated", reason)) from error
    # the library's stub takes its exception for an instance
    except (OSError, isal_zlib.error) as error:  # pyright: ignore[reportGeneralTypeIssues]
        reason = f"{path}: {error}; get the file again"
        raise SetAsideError(Finding("unreadable", reason)) from error


def read_header(path: Path) -> Nifti1Header:
    """Return a file's header as it stands there.

    Raises:
        SetAsideError: It is no NIfTI file.
        OSError: It cannot be read.
    """
    with _opened(_pair(path)[0]) as stream:
        return raw_header(stream, path)


def _pair(path: Path) -> tuple[Path, Path]:
    """Return the files of the header and of the voxels: mostly the same one."""
    zipped = ".gz" if path.suffix == ".gz" else ""
    stem = path.with_suffix("") if zipped else path
    if stem.suffix not in (".hdr", ".img"):
        return path, path
    return stem.with_suffix(".hdr" + zipped), stem.with_suffix(".img" + zipped)


def _opened(path: Path) -> IO[bytes]:
    return igzip.open(path) if _is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def _check_size(header: NiftiHeader, path: Path) -> None:
    """Compare what the header claims with what there is, before anything is allocated."""
    size_bytes, zipped = path.stat().st_size, _is_gzip(path)
    voxels = math.prod(header.grid.size_xyz)
    expected = header.offset + voxels * header.stored.itemsize
    claim = f"{path}: the header claims {' x '.join(map(str, header.grid.size_xyz))} voxels"
    if voxels > MAX_VOXELS or not 0 <= header.offset <= MAX_OFFSET_BYTES:
        reason = (
            f"{claim} after {header.offset:,} bytes; expected at most {MAX_VOXELS:,} after at most "
            f"{MAX_OFFSET_BYTES:,}"
        )
        raise SetAsideError(Finding("header_implausible", reason))
    if zipped and expected > size_bytes * GZIP_MAX_RATIO:
        reason = f"{claim}, {expected:,} bytes; {size_bytes:,} compressed bytes cannot hold them"
        raise SetAsideError(Finding("header_implausible", reason))
    if not zipped and expected > size_bytes:
        reason = f"{claim}, {expected:,} bytes; the file has {size_bytes:,}: get it again"
        raise SetAsideError(Finding("truncated", reason))


def _read_voxels(stream: IO[bytes], header: NiftiHeader) -> NDArray[Any]:
    x, y, z = header.grid.size_xyz
    stream.seek(header.offset)
    as_it_is = header.scaling is None and header.stored.kind != "f"
    voxels = np.empty((z, y, x), header.stored.newbyteorder("=") if as_it_is else np.float32)
    if as_it_is and header.stored.isnative:
        _fill(stream, voxels)
    else:
        _fill_converted(stream, voxels, header)
    if isinstance(stream, igzip.IGzipFile):
        # on to the end of a compressed file, where its checksum is, unless it goes on far
        stream.read(SLAB_BYTES)
    return voxels


def _fill_converted(stream: IO[bytes], voxels: NDArray[Any], header: NiftiHeader) -> None:
    depth = max(1, SLAB_BYTES // (voxels[0].size * header.stored.itemsize))
    slab = np.empty((min(depth, len(voxels)), *voxels.shape[1:]), header.stored)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found as infinite
        for start in range(0, len(voxels), depth):
            part = slab[: min(depth, len(voxels) - start)]
            _fill(stream, part)
            if header.scaling is not None:
                slope, intercept = header.scaling
                part = part.astype(np.float64) * slope + intercept
            voxels[start : start + depth] = part


def _fill(stream: IO[bytes], part: NDArray[Any]) -> None:
    raw = memoryview(part.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    done = 0
    while done < len(raw):
        count = stream.readinto(raw[done : done + PIECE_BYTES])  # type: ignore[attr-defined]
        if not count:
            msg = f"{len(raw) - done:,} bytes of a slab of {len(raw):,} are missing"
            raise EOFError(msg)
        done += count
