"""A scan as a user has it: a file or a DICOM folder, in Hounsfield units."""

from pathlib import Path

import SimpleITK as sitk

from manifests.ground.errors import MarginaliaError, TrainingError
from manifests.ground.findings import Finding
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.readers.dicom_places import ct_places
from manifests.volumes.readers.dicom_slice import read_slices
from manifests.volumes.readers.itk import last_line
from manifests.volumes.readers.nifti import SUFFIXES as NIFTI_SUFFIXES
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.readers.slicer import is_slicer
from manifests.volumes.volume import read_volume
from train.prediction.label_map_file import note_of

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".img.gz")
EXPECTED = "a CT as NIfTI, NRRD or MetaImage, a folder of DICOM slices, or a folder of any of them"
DERIVED = (".seg.dcm", ".rtstruct.dcm")  # what prediction writes as DICOM
_PARTS = (".img", ".img.gz")  # opened through the .hdr beside them


def find_scans(path: Path, leave_out: Path) -> list[tuple[Path, str]]:
    """Find the scans of a file or a folder, and name each.

    A folder of one CT series is one scan, called as the folder. In any other folder, each image
    file and each CT series in DICOM is a scan, called by its place in the folder, as in
    `patient_7/ct`. Scouts and other modalities beside them are none, nor is what an earlier
    prediction wrote, nor a segmentation of 3D Slicer's, nor the label of a prepared case.

    Args:
        path: A file or a folder.
        leave_out: A folder in it that is not searched, such as that of earlier label maps.

    Returns:
        Each scan and its name; a folder without any comes back itself, and reading it tells why.
    """
    if not path.is_dir():
        return [(path, scan_name(path))]
    files = _files(path)
    if leave_out.resolve() != path.resolve():
        files = [f for f in files if leave_out.resolve() not in f.resolve().parents]
    images = [f for f in files if is_image(f) and not _is_label(f)]
    series = ct_places(f for f in files if not f.name.lower().endswith((*SUFFIXES, *DERIVED)))
    if not images and len(series) <= 1:
        return [(path, scan_name(path))]
    return [(f, scan_name(path) if f == path else _name_in(path, f)) for f in (*images, *series)]


def _name_in(folder: Path, scan: Path) -> str:
    inside = scan.relative_to(folder)
    return (inside if scan.is_dir() else inside.with_name(scan_name(scan))).as_posix()


def _is_label(path: Path) -> bool:
    """Return whether a file is 3D Slicer's, an earlier prediction, or a label of `prepare`."""
    prepared = path.name == "label.nii" and path.with_name("case.json").is_file()
    return is_slicer(path) or prepared or bool(note_of(path))


def is_image(path: Path) -> bool:
    """Return whether a file's name is that of an image that can be opened by it."""
    name = path.name.lower()
    return name.endswith(SUFFIXES) and not name.endswith(_PARTS)


def scan_name(path: Path) -> str:
    """Return a scan's name: its folder's, or its file's without the suffix of an image."""
    if path.is_dir():
        return path.resolve().name
    suffixes = (s for s in SUFFIXES if path.name.lower().endswith(s))
    return path.name[: -len(next(suffixes, path.suffix)) or None]


def require_scan(path: Path) -> None:
    """Refuse what is no scan at all, and say what was expected.

    Raises:
        TrainingError: It is not there, is neither an image nor a folder that holds one, or is a
            single DICOM file.
    """
    if not path.exists():
        got = "nothing is there; check the path"
    elif path.is_dir() and not any(read_slices(f) for f in _files(path)):
        got = "no image and no DICOM slice is in it"
    elif path.is_file() and not (
        path.name.lower().endswith(NIFTI_SUFFIXES)
        or sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    ):
        got = "the file is none of these"
    elif path.is_file() and len(read_slices(path) or ()) == 1:
        got = "it is one DICOM file; give the folder of the series"
    else:
        return
    msg = f"{path}: expected {EXPECTED}; {got}"
    raise TrainingError(msg)


def read_scan(path: Path, repairs: Repairs = AS_USUAL) -> tuple[sitk.Image, tuple[Finding, ...]]:
    """Read a scan just as `prepare` reads the images that a network learns from.

    Returns:
        The scan, and what was noticed and repaired.

    Raises:
        SetAsideError: It cannot be used; the error says why.
    """
    scan = to_hounsfield(read_volume(path, repairs), path)
    return scan.grid.image(scan.voxels), scan.findings


def _files(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.rglob("*")) if f.is_file() and not is_hidden(f, folder)]


def is_hidden(path: Path, folder: Path) -> bool:
    """Return whether a file, or a folder between it and that folder, is hidden."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def reason_of(error: BaseException) -> str:
    """Return what an error says: ours in full, any other's last line, where ITK tells the cause.

    The kind of error stands first where the text alone says little, as that of a `KeyError`.
    """
    if isinstance(error, MarginaliaError):
        return str(error)
    words, kind = last_line(error), type(error).__name__
    if words == kind or isinstance(error, RuntimeError | OSError | ValueError | MemoryError):
        return words
    return f"{kind}: {words}"
