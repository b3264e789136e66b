"""A scan as a user has it: a file or a DICOM folder, in Hounsfield units."""

from pathlib import Path

import SimpleITK as sitk

from manifests.errors import MarginaliaError
from manifests.findings import Finding
from manifests.hounsfield import in_hounsfield
from manifests.volume import last_line, read_volume

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".img.gz")


def scan_name(path: Path) -> str:
    """Name of a scan: its folder's name, or its file's without the suffix of an image."""
    if path.is_dir():
        return path.resolve().name
    suffixes = (s for s in SUFFIXES if path.name.lower().endswith(s))
    return path.name[: -len(next(suffixes, path.suffix)) or None]


def read_scan(path: Path) -> tuple[sitk.Image, tuple[Finding, ...]]:
    """Read a scan just as `prepare` reads the images that a network learns from.

    Returns:
        The scan, and what was noticed and repaired.

    Raises:
        SetAsideError: It cannot be used; the error says why.
    """
    scan = in_hounsfield(read_volume(path), path)
    return scan.grid.image(scan.voxels), scan.findings


def reason_of(error: BaseException) -> str:
    """Return what an error says: ours in full, any other's last line, where ITK tells the cause."""
    return str(error) if isinstance(error, MarginaliaError) else last_line(error)
