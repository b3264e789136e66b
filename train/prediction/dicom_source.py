"""DICOM sources: the slices that a DICOM segmentation or structure set refers to."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class DicomSource:
    """A series as files of a prediction refer to it.

    Attributes:
        series: The folder of the slices.
        slices: Their headers, in the order in which `read_volume` stacks them. Attributes that may
            be empty, which an anonymiser may have deleted, are empty, in memory.
    """

    series: Path
    slices: list[Any]

    @classmethod
    def read(cls, series: Path) -> "DicomSource":
        """Read the headers of a series.

        Raises:
            SetAsideError: It cannot be used, was resampled, or lies in one file.
        """
        pydicom = importlib.import_module("pydicom")
        slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in slice_files(series)]
        for one in slices:
            for name in _MAY_BE_EMPTY:
                if name not in one:
                    setattr(one, name, None)
        return cls(series, slices)

    @classmethod
    def of(cls, series: "DicomSource | Path") -> "DicomSource":
        """Return a series that was read, or read it (errors: `read`)."""
        return cls.read(series) if isinstance(series, Path) else series

    def refusal(self, what: str, option: str, error: Exception) -> TrainingError:
        """Return the error that says why the series cannot be referred to."""
        msg = (
            f"{self.series} cannot be referred to by {what}: expected slices with all identities "
            f"of a DICOM CT, which an anonymiser may have taken; got {error!r}; leave out {option}"
        )
        return TrainingError(msg)


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


def read_source(series: Path, what: str, option: str) -> DicomSource:
    """Read the headers of a series that was read, or refuse it if not each layer is a file.

    Raises:
        TrainingError: It was resampled, or lies in one file.
    """
    try:
        return DicomSource.read(series)
    except SetAsideError as error:
        msg = f"{what} refers to a scan's slices as they are. {error}; leave out {option}"
        raise TrainingError(msg) from error


def note_in(path: Path, attribute: str) -> str:
    """Return the note that an attribute of a DICOM file holds; empty if the file is none."""
    pydicom = importlib.import_module("pydicom")
    try:
        return str(pydicom.dcmread(path, specific_tags=[attribute]).get(attribute) or "")
    except (OSError, pydicom.errors.InvalidDicomError):
        return ""
