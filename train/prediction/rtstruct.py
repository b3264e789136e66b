"""RTSTRUCT: a label map as the contours of a DICOM structure set, for radiotherapy programs."""

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.classes.colour_tables import rgb
from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.ground.atomic import whole_file
from train.prediction.dicom_source import DicomSource
from train.prediction.outlines import outlines
from train.prediction.sliding_window import ClassVolume

SUFFIX = ".rtstruct.dcm"
NOTE = "StructureSetDescription"
WHAT, OPTION = "an RTSTRUCT", "--rtstruct"

_SERIES_NUMBER = 301
_OF_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_rtstruct(
    classes: ClassVolume,
    space: LabelSpace,
    series: DicomSource | Path,
    output: Path,
    *,
    note: str = "",
) -> None:
    """Write one structure for each class of a label space; one without a voxel has no contour.

    Contours lie in the planes of the slices and run along the edges of pixels (see `outlines`).

    Args:
        classes: Class ids on the grid that the series was read with.
        space: The classes, with their SNOMED CT codes and colours.
        series: The slices, or the folder of them.
        output: The file to write.
        note: A description of the structure set.

    Raises:
        TrainingError: The slices lack what an RTSTRUCT refers to.
        SetAsideError: The folder cannot be used, was resampled, or lies in one file.
    """
    source = DicomSource.of(series)
    try:
        content = _structure_set(source.slices, classes, space, note)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise source.refusal(WHAT, OPTION, error) from error
    with whole_file(output) as temporary:
        # contours are longer than a text may be where its kind is written out
        content.save_as(temporary, implicit_vr=True, little_endian=True, enforce_file_format=True)


def _structure_set(sources: list[Any], classes: ClassVolume, space: LabelSpace, note: str) -> Any:  # noqa: ANN401
    uid = importlib.import_module("pydicom.uid")
    first, now = sources[0], datetime.now(UTC)
    frame = first.FrameOfReferenceUID
    made = _dataset(
        SOPClassUID=uid.RTStructureSetStorage,
        SOPInstanceUID=uid.generate_uid(),
        SpecificCharacterSet=first.get("SpecificCharacterSet"),
        **{name: first[name].value for name in _OF_PATIENT_AND_STUDY},
        Modality="RTSTRUCT",
        SeriesInstanceUID=uid.generate_uid(),
        SeriesNumber=_SERIES_NUMBER,
        SeriesDescription=f"marginalia {space.name}"[:64],
        OperatorsName=None,
        Manufacturer="marginalia",
        ManufacturerModelName="marginalia",
        SoftwareVersions=version("marginalia"),
        FrameOfReferenceUID=frame,
        PositionReferenceIndicator=None,
        InstanceNumber=1,
        StructureSetLabel=space.name[:16].upper(),
        StructureSetDescription=note,
        StructureSetDate=f"{now:%Y%m%d}",
        StructureSetTime=f"{now:%H%M%S}",
        ApprovalStatus="UNAPPROVED",
        ReferencedFrameOfReferenceSequence=[_referenced(sources, frame)],
    )
    numbered = list(enumerate(space.classes, start=1))
    made.StructureSetROISequence = [_named(n, entry, frame) for n, entry in numbered]
    made.ROIContourSequence = [_drawn(n, entry, sources, classes) for n, entry in numbered]
    made.RTROIObservationsSequence = [_observed(n, entry) for n, entry in numbered]
    made.ensure_file_meta()
    return made


def _referenced(sources: list[Any], frame: str) -> Any:  # noqa: ANN401
    first = sources[0]
    series = _dataset(
        SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=[*map(_image, sources)]
    )
    study = _dataset(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, as all do
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def _image(source: Any) -> Any:  # noqa: ANN401
    return _dataset(
        ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID
    )


def _named(number: int, entry: LabelClass, frame: str) -> Any:  # noqa: ANN401
    return _dataset(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame,
        ROIName=entry.name,
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _drawn(number: int, entry: LabelClass, sources: list[Any], classes: ClassVolume) -> Any:  # noqa: ANN401
    drawn = _dataset(ReferencedROINumber=number, ROIDisplayColor=[*rgb(entry.colour)])
    contours = [
        _dataset(
            ContourImageSequence=[_image(source)],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points),
            ContourData=[f"{value:.4f}" for value in points.ravel()],
        )
        for source, slice_ in zip(sources, classes, strict=True)
        for points in _points_mm(source, slice_ == number)
    ]
    if contours:
        drawn.ContourSequence = contours
    return drawn


def _points_mm(source: Any, mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:  # noqa: ANN401
    """Yield the corners [n, 3] of each outline in a slice (mm, LPS)."""
    if not mask.any():
        return
    down, across = (float(step) for step in source.PixelSpacing)  # of rows first, then of columns
    along = np.reshape(np.array(source.ImageOrientationPatient, np.float64), (2, 3))
    steps = along * [[across], [down]]
    for corners in outlines(mask):
        yield np.array(source.ImagePositionPatient, np.float64) + corners @ steps


def _observed(number: int, entry: LabelClass) -> Any:  # noqa: ANN401
    observed = _dataset(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIInterpretedType=None if entry.snomed_region else "ORGAN",
        ROIInterpreter=None,
    )
    if entry.snomed:
        meaning = entry.name.replace("_", " ").capitalize()
        code = _dataset(CodeValue=entry.snomed, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
        observed.RTROIIdentificationCodeSequence = [code]
    return observed


def _dataset(**attributes: object) -> Any:  # noqa: ANN401
    made = importlib.import_module("pydicom").Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
