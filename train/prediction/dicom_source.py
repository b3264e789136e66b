"""DICOM sources: the slices that a DICOM segmentation or structure set refers to."""

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from manifests.ground.errors import TrainingError
from manifests.ground.findings import SetAsideError
from manifests.volumes.readers.dicom import slice_files

# of type 2, and asked for by highdicom
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def check_series(scans: Sequence[Path], option: str, what: str) -> None:
    """Refuse what cannot become DICOM before anything is done.

    Raises:
        TrainingError: A scan is no DICOM series, or highdicom is not installed.
    """
    if find_spec("highdicom") is None:
        msg = f"{what} is written by highdicom, which is not there: pip install 'marginalia[dicom]'"
        raise TrainingError(msg)
    for scan in scans:
        if not scan.is_dir():
            msg = (
                f"{scan} is not a DICOM series, and {what} refers to the slices of one: "
                f"predict the folder of its slices, or leave out {option}"
            )
            raise TrainingError(msg)


def require_slices(series: Path, what: str, option: str) -> None:
    """Refuse a series that was read, but of which not each layer is a file.

    Raises:
        TrainingError: It was resampled, or lies in one file.
    """
    try:
        slice_files(series)
    except SetAsideError as error:
        msg = f"{what} refers to a scan's slices as they are. {error}; leave out {option}"
        raise TrainingError(msg) from error


def read_sources(series: Path) -> list[Any]:
    """Return the headers of the slices that `read_volume` stacks, in order.

    Attributes that may be empty, which an anonymiser may have deleted, are empty, in memory.

    Raises:
        SetAsideError: The series cannot be used.
    """
    pydicom = importlib.import_module("pydicom")
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in slice_files(series)]
    for source in sources:
        for name in _MAY_BE_EMPTY:
            if name not in source:
                setattr(source, name, None)
    return sources


def refusal(series: Path, what: str, option: str, error: Exception) -> TrainingError:
    """Return the error that says why a series cannot be referred to."""
    msg = (
        f"{series} cannot be referred to by {what}: expected slices with all identities of a DICOM "
        f"CT, which an anonymiser may have taken; got {error!r}; leave out {option}"
    )
    return TrainingError(msg)


def note_in(path: Path, attribute: str) -> str:
    """Return the note that an attribute of a DICOM file holds; empty if the file is none."""
    pydicom = importlib.import_module("pydicom")
    try:
        return str(pydicom.dcmread(path, specific_tags=[attribute]).get(attribute) or "")
    except (OSError, pydicom.errors.InvalidDicomError):
        return ""
