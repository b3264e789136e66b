"""Reading a case's image and label, and checking the one against the other."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from curate.discover import SourceCase
from manifests.errors import MarginaliaError
from manifests.findings import Finding

# Headers written by different programs differ in the last digits of a float32.
ORIGIN_TOLERANCE_MM = 0.01
SPACING_TOLERANCE = 1e-3  # relative
DIRECTION_TOLERANCE = 1e-3
MAX_SPACING_MM = 50.0


class SetAsideError(MarginaliaError):
    """A case cannot be used; carries the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        """Say what was seen."""
        super().__init__(finding.reason)
        self.finding = finding


def read_case(
    case: SourceCase, values: Collection[int]
) -> tuple[sitk.Image, sitk.Image, list[Finding]]:
    """Read a case's image and label onto one grid.

    Args:
        case: Says where the files lie.
        values: The label values that the recipe lists.

    Returns:
        The image in Hounsfield units (any pixel type), the label (uint16, only 0 and `values`),
        and what was noticed.

    Raises:
        SetAsideError: The case cannot be used as it is.
    """
    image, label = _read(case.image), _read(case.label)
    _check_intensities(image, case.image)
    findings = [*_check_geometry(image, case.image), *_check_grids(image, label)]
    label = _whole_numbers(label, case.label)
    label.CopyInformation(image)
    _check_values(label, values, case.label)
    return image, label, findings


def _read(path: Path) -> sitk.Image:
    if not path.exists():
        raise SetAsideError(Finding("file_missing", f"{path} does not exist"))
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise SetAsideError(Finding("unreadable", f"{path}: {lines[-1].strip()}")) from error


def _check_geometry(image: sitk.Image, path: Path) -> list[Finding]:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        reason = (
            f"{path}: expected one volume in three dimensions; got size {image.GetSize()} with "
            f"{image.GetNumberOfComponentsPerPixel()} components"
        )
        raise SetAsideError(Finding("geometry_invalid", reason))
    spacing = image.GetSpacing()
    if not all(0 < s <= MAX_SPACING_MM for s in spacing):
        reason = f"{path}: expected a spacing up to {MAX_SPACING_MM} mm; got {spacing}"
        raise SetAsideError(Finding("geometry_invalid", reason))
    if spacing == (1.0, 1.0, 1.0):
        return [Finding("spacing_suspect", "the header says 1 x 1 x 1 mm")]
    return []


def _check_intensities(image: sitk.Image, path: Path) -> None:
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise SetAsideError(
            Finding("intensity_invalid", f"{path} holds NaN or infinite intensities")
        )


def _check_grids(image: sitk.Image, label: sitk.Image) -> list[Finding]:
    if image.GetSize() != label.GetSize():
        reason = f"the image has size {image.GetSize()}, the label {label.GetSize()}"
        raise SetAsideError(Finding("grid_mismatch", reason))
    parts = {
        "spacing": (_off(image.GetSpacing(), label.GetSpacing(), relative=True), SPACING_TOLERANCE),
        "origin": (_off(image.GetOrigin(), label.GetOrigin()), ORIGIN_TOLERANCE_MM),
        "direction": (_off(image.GetDirection(), label.GetDirection()), DIRECTION_TOLERANCE),
    }
    for name, (off, tolerance) in parts.items():
        if off > tolerance:
            reason = f"{name} of image and label differ by {off:.4g}, more than {tolerance}"
            raise SetAsideError(Finding("grid_mismatch", reason))
    worst = max(parts, key=lambda name: parts[name][0])
    off = parts[worst][0]
    return [Finding("grid_rounding", f"{worst} differed by {off:.2g}")] if off else []


def _off(a: tuple[float, ...], b: tuple[float, ...], *, relative: bool = False) -> float:
    difference = np.abs(np.subtract(a, b))
    return float((difference / np.abs(a) if relative else difference).max())


def _whole_numbers(label: sitk.Image, path: Path) -> sitk.Image:
    voxels = sitk.GetArrayViewFromImage(label)
    whole = np.rint(voxels) if voxels.dtype.kind == "f" else voxels
    if not np.array_equal(whole, voxels):
        odd = voxels[whole != voxels].flat[0]
        reason = f"{path}: expected whole numbers; got {odd} among others"
        raise SetAsideError(Finding("label_not_integer", reason))
    if voxels.size and not 0 <= whole.min() <= whole.max() <= np.iinfo(np.uint16).max:
        reason = f"{path}: expected values from 0 to 65535; got {whole.min()} to {whole.max()}"
        raise SetAsideError(Finding("label_not_integer", reason))
    return sitk.GetImageFromArray(whole.astype(np.uint16))


def _check_values(label: sitk.Image, values: Collection[int], path: Path) -> None:
    voxels = sitk.GetArrayViewFromImage(label)
    listed = np.zeros(1 << 16, bool)
    listed[[0, *values]] = True
    odd = np.unique(voxels[~listed[voxels]]).tolist()
    if odd:
        reason = f"{path}: the recipe lists the values {sorted(values)}; got also {odd}"
        raise SetAsideError(Finding("value_unlisted", reason))
