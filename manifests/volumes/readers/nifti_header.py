"""What a NIfTI header says, and which part of it is believed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid, corner_distance, is_possible
from manifests.volumes.readers.right_angles import at_right_angles

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; all else is millimetres
SPACING_ROUNDING = 1e-3  # relative
AGREEMENT_VOXELS = 0.1  # at the corner where the two forms differ most
HEADER_BYTES = Nifti1Header.sizeof_hdr

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed to read the voxels of one volume.

    Attributes:
        stored: Number type in the file, in its byte order.
        offset: Bytes before the first voxel.
        scaling: Slope and intercept; None if the stored values are the values.
    """

    stored: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None
    grid: Grid
    findings: tuple[Finding, ...]


def parse_header(stream: IO[bytes], path: Path) -> NiftiHeader:
    """Read the header at the start of an uncompressed stream."""
    header = raw_header(stream, path)
    try:
        stored = cast("np.dtype[Any]", header.get_data_dtype())
        offset = int(header.get_data_offset())
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, ValueError, OverflowError, KeyError) as error:
        reason = f"{path}: {type(error).__name__} in its header: {error}"
        raise SetAsideError(Finding("unreadable", reason)) from error
    if stored.kind not in "iuf":
        reason = f"{path}: expected one number per voxel; got {header['datatype']} ({stored})"
        raise SetAsideError(Finding("several_volumes", reason))
    size_xyz, size_findings = _size(header, path)
    affine, form_findings = _affine(header, size_xyz, path)
    affine, unit_findings = _in_mm(header, affine)
    grid, skew_findings = at_right_angles(LPS_FROM_RAS @ affine, size_xyz, path)
    scaling = None if slope is None else (slope, intercept or 0.0)
    findings = (*size_findings, *form_findings, *unit_findings, *skew_findings)
    return NiftiHeader(stored, offset, None if scaling == (1, 0) else scaling, grid, findings)


def _in_mm(header: Nifti1Header, affine: FloatArray) -> tuple[FloatArray, list[Finding]]:
    """Convert metres and micrometres, unless only millimetres make a spacing that a scan has."""
    unit = int(header["xyzt_units"]) & 7
    mm = MM_PER_UNIT.get(unit, 1.0)
    spacing = _spacing(affine)
    if is_possible(spacing) and not is_possible(spacing * mm):
        reason = (
            f"the unit is {'metres' if unit == 1 else 'micrometres'} (xyzt_units {unit}), the "
            f"spacing {_words(spacing)}: taken as mm"
        )
        return affine, [Finding("units_suspect", reason)]
    return np.diag([mm, mm, mm, 1.0]) @ affine, []


def raw_header(stream: IO[bytes], path: Path) -> Nifti1Header:
    """Read the header at the start of an uncompressed stream, and believe nothing of it."""
    block = stream.read(HEADER_BYTES)
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    for kind in (Nifti1Header, Nifti2Header):
        if kind.sizeof_hdr in sizes:
            block += stream.read(kind.sizeof_hdr - HEADER_BYTES)
            if len(block) == kind.sizeof_hdr:
                header = kind(block, check=False)
                if header["magic"].item()[:2] in (b"n+", b"ni"):
                    return header
    what = "an empty file" if not block else f"one that starts with {block[:8]!r}"
    raise SetAsideError(Finding("unreadable", f"{path}: expected a NIfTI file; got {what}"))


def _size(header: Nifti1Header, path: Path) -> tuple[tuple[int, int, int], list[Finding]]:
    count, *sizes = (int(n) for n in header["dim"])
    sizes = sizes[: max(count, 0)]
    if not 3 <= count <= 7 or min(sizes) < 1:
        reason = f"{path}: expected three dimensions of at least 1 voxel; got {count}: {sizes}"
        raise SetAsideError(Finding("geometry_invalid", reason))
    x, y, z, *more = sizes
    if math.prod(more) > 1:
        reason = f"{path}: expected one volume; got {' x '.join(map(str, sizes))} voxels"
        raise SetAsideError(Finding("several_volumes", reason))
    return (x, y, z), [Finding("single_volume_4d", f"size {sizes}")] if more else []


def _affine(
    header: Nifti1Header, size_xyz: tuple[int, int, int], path: Path
) -> tuple[FloatArray, list[Finding]]:
    """Choose between the two forms.

    The sform is preferred: programs that move or register a scan write it, and nibabel and FSL
    read it (ITK, and what builds on it, reads the qform). The exceptions are a damaged sform, and
    the unit matrix that programs write when they have lost the header.
    """
    sform, qform = _usable(*header.get_sform(coded=True)), _qform(header)
    form = qform if sform is None else sform
    if form is None:
        return _without_forms(header, path)
    if sform is None or qform is None:
        return _single(header, form, damaged=sform is None and bool(header["sform_code"]))
    off = corner_distance(sform, qform, size_xyz)
    if off <= AGREEMENT_VOXELS:
        return sform, []
    lost = np.allclose(_spacing(sform), 1) and not np.allclose(_spacing(qform), 1)
    name, affine = ("qform", qform) if lost else ("sform", sform)
    reason = (
        f"sform {_rows(sform)} and qform {_rows(qform)} (RAS) are {off:.3g} voxels apart at a "
        f"corner; the {name} was used"
    )
    return affine, [Finding("forms_disagree", reason)]


def _qform(header: Nifti1Header) -> FloatArray | None:
    # NIfTI-1: qfac is -1 or 1, and a 0 that old writers left there means 1; nibabel refuses it
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    try:
        with np.errstate(invalid="ignore"):
            return _usable(*header.get_qform(coded=True))
    except HeaderDataError:  # no rotation, or a negative spacing
        return None


def _usable(affine: Any, code: Any) -> FloatArray | None:  # noqa: ANN401
    if affine is None or code <= 0 or not np.isfinite(affine).all():
        return None
    return affine if abs(np.linalg.det(affine[:3, :3])) > 0 else None


def _without_forms(header: Nifti1Header, path: Path) -> tuple[FloatArray, list[Finding]]:
    """Take an array without orientation as DICOM stores it, as ITK does."""
    spacing_mm, stated = _pixdim_mm(header)
    if not stated:
        reason = f"{path}: expected a spacing above 0 mm; got {tuple(spacing_mm.tolist())}"
        raise SetAsideError(Finding("geometry_invalid", reason))
    codes = f"sform code {header['sform_code']}, qform code {header['qform_code']}"
    finding = Finding("orientation_unstated", f"{codes}, and neither is usable")
    return LPS_FROM_RAS @ np.diag([*spacing_mm, 1.0]), [finding]


def _single(
    header: Nifti1Header, affine: FloatArray, *, damaged: bool
) -> tuple[FloatArray, list[Finding]]:
    """Settle a single form, whose spacing may differ from the one in `pixdim`."""
    if damaged:
        return affine, [Finding("forms_disagree", "the sform is damaged; the qform was used")]
    spacing_mm, (pixdim_mm, stated) = _spacing(affine), _pixdim_mm(header)
    if np.allclose(spacing_mm, pixdim_mm, rtol=SPACING_ROUNDING):
        return affine, []
    lost = stated and np.allclose(spacing_mm, 1)
    if lost:
        affine = affine @ np.diag([*pixdim_mm, 1.0])
    reason = (
        f"the sform says a spacing of {_words(spacing_mm)} mm, pixdim {_words(pixdim_mm)} mm; "
        f"{'pixdim' if lost else 'the sform'} was used"
    )
    return affine, [Finding("forms_disagree", reason)]


def _pixdim_mm(header: Nifti1Header) -> tuple[FloatArray, bool]:
    """Return the spacing beside the forms, and whether it makes sense."""
    pixdim_mm = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    return pixdim_mm, bool((np.isfinite(pixdim_mm) & (pixdim_mm > 0)).all())


def _spacing(affine: FloatArray) -> FloatArray:
    return np.linalg.norm(affine[:3, :3], axis=0)


def _rows(affine: FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{v:.6g}" for v in row) for row in affine[:3]) + "]"


def _words(values: FloatArray) -> str:
    return " x ".join(f"{v:.6g}" for v in values)
