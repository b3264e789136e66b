"""A scan as a user has it: any 3-D volume that SimpleITK reads, in Hounsfield units."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from manifests.errors import GeometryError, MarginaliaError, TrainingError
from manifests.grid import Grid

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".img.gz")
SKEW_TOLERANCE = 0.01  # cosine; at 20 cm from the centre, 2 mm


def scan_name(path: Path) -> str:
    """Name of a scan: its file name without the suffix of an image."""
    suffixes = (s for s in SUFFIXES if path.name.lower().endswith(s))
    return path.name[: -len(next(suffixes, path.suffix)) or None]


def read_scan(path: Path) -> sitk.Image:
    """Read a scan with finite intensities.

    Raises:
        TrainingError: The file is not there, or is no image that can be read.
        GeometryError: It is not one 3-D volume, or its header makes no sense.
    """
    image = _read(path)
    Grid.of(image)
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        msg = f"{path} holds NaN or infinite intensities; expected Hounsfield units, with air there"
        raise TrainingError(msg)
    return image


def _read(path: Path) -> sitk.Image:
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            return _read_skewed(path)
        msg = f"{path} is no image that can be read: {reason_of(error)}"
        raise TrainingError(msg) from error


def _read_skewed(path: Path) -> sitk.Image:
    """Read a NIfTI file whose axes are not quite at right angles, which ITK refuses.

    The direction becomes the nearest rotation or mirror; the voxels stay as they are.
    """
    volume = nib.Nifti1Image.from_filename(path)
    if volume.affine is None or volume.ndim != 3:
        msg = f"{path}: expected one 3-D volume with an affine, got {volume.shape}"
        raise GeometryError(msg)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # RAS to LPS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / spacing
    left, _, right = np.linalg.svd(cosines)
    skew = float(np.abs(left @ right - cosines).max())
    if not skew <= SKEW_TOLERANCE:
        msg = (
            f"{path}: the axes are off right angles by {skew:.3g}, more than {SKEW_TOLERANCE} "
            f"(a tilted gantry?); resample the scan to a grid with right angles"
        )
        raise GeometryError(msg)
    image = sitk.GetImageFromArray(np.asarray(volume.dataobj).T.copy())
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def reason_of(error: BaseException) -> str:
    """Return what an error says: ours in full, any other's last line, where ITK tells the cause."""
    if isinstance(error, MarginaliaError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
