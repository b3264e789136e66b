"""What the header of a DICOM SEG or RTSTRUCT says: its segments, and the series it refers to."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curate.dicom_labels.file_head import check_inflated, is_deflated, sop_class_of, unreadable
from manifests.ground.content_hash import files_of
from manifests.ground.errors import SourceError

Modality = Literal["SEG", "RTSTRUCT"]
Code = tuple[str, str]  # value and scheme

SOP_CLASSES: dict[str, Modality] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",  # LABELMAP
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
SNOMED = "SCT"
# The first long element behind what is read of a SEG: its frames.
FRAMES = 0x52009230


@dataclass(frozen=True)
class Segment:
    """One segment of a SEG, or one region (ROI) of an RTSTRUCT that has contours.

    Attributes:
        kind: SNOMED CT code of its type; empty if it has none.
        codes: SNOMED CT codes of what modifies the type, such as a side or an organ.
    """

    number: int
    name: str
    kind: str = ""
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LabelObject:
    """One file of segments.

    Attributes:
        series: UIDs of the series that it refers to.
    """

    path: Path
    modality: Modality
    segments: tuple[Segment, ...]
    series: frozenset[str]


def require_reader() -> None:
    """Refuse DICOM labels where their reader is not installed.

    Raises:
        SourceError: It is not.
    """
    if find_spec("highdicom") is None:
        msg = (
            "DICOM labels are read by highdicom, which is not there: pip install "
            "'marginalia[dicom]'"
        )
        raise SourceError(msg)


def label_files(path: Path, modality: Modality | None) -> list[Path]:
    """Return the DICOM SEG and RTSTRUCT files of a folder, or the file itself if it is one."""
    wanted = {uid for uid, kind in SOP_CLASSES.items() if modality in (None, kind)}
    return [file for file in files_of(path) if sop_class_of(file) in wanted]


def read_label_object(path: Path) -> LabelObject:
    """Read what a DICOM SEG or RTSTRUCT holds, without its voxels.

    Raises:
        SetAsideError: The file is damaged, or lacks what says what its segments are.
    """
    modality = SOP_CLASSES[sop_class_of(path)]
    if is_deflated(path):
        check_inflated(path)
    try:
        with path.open("rb") as file:
            reader = importlib.import_module("pydicom.filereader")
            # the contours of an RTSTRUCT say which of its regions were drawn
            stop = _at_frames if modality == "SEG" else None
            dataset = reader.read_partial(file, stop_when=stop, force=True)
        segments = _segments(dataset) if modality == "SEG" else _regions(dataset)
        return LabelObject(path, modality, tuple(segments), frozenset(_series(dataset)))
    except Exception as error:  # pydicom raises what its parts do, whatever a file holds
        raise unreadable(path, error) from error


def _at_frames(tag: Any, _vr: str | None, _length: int) -> bool:  # noqa: ANN401
    return tag >= FRAMES


def _segments(dataset: Any) -> Iterator[Segment]:  # noqa: ANN401
    for item in dataset.SegmentSequence:
        number = int(item.SegmentNumber)
        if number == 0:  # how a LABELMAP lists its background
            continue
        kinds = item.get("SegmentedPropertyTypeCodeSequence") or []
        regions = item.get("AnatomicRegionSequence") or []
        told = [item, *kinds, *regions]
        names = ("SegmentedPropertyTypeModifierCodeSequence", "AnatomicRegionModifierSequence")
        modifiers = [code for where in told for name in names for code in where.get(name) or []]
        codes = frozenset(map(_snomed, [*regions, *modifiers])) - {""}
        kind = _snomed(kinds[0]) if kinds else ""
        yield Segment(number, str(item.get("SegmentLabel", "")).strip(), kind, codes)


def _regions(dataset: Any) -> Iterator[Segment]:  # noqa: ANN401
    drawn = {
        int(item.ReferencedROINumber)
        for item in dataset.get("ROIContourSequence") or []
        if any(len(coordinates(contour)) for contour in item.get("ContourSequence") or [])
    }
    seen = dataset.get("RTROIObservationsSequence") or []
    coded = {int(item.ReferencedROINumber): _code_of_region(item) for item in seen}
    for item in dataset.StructureSetROISequence:
        number = int(item.ROINumber)
        if number in drawn:
            kind = coded.get(number, "")
            yield Segment(number, str(item.get("ROIName", "")).strip(), kind)


def coordinates(contour: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the numbers of a contour: x, y and z of its points, in mm (LPS).

    They are read off the file's text: pydicom makes an object of each number.
    """
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        text = value.strip(b" \0")
        return np.array(text.split(b"\\") if text else [], np.bytes_).astype(np.float64)
    return np.array([] if value is None else value, np.float64)


def _code_of_region(observation: Any) -> str:  # noqa: ANN401
    codes = observation.get("RTROIIdentificationCodeSequence") or []
    return _snomed(codes[0]) if codes else ""


def _snomed(item: Any) -> str:  # noqa: ANN401
    """Return a SNOMED CT code; its predecessor's codes, as in SRT, are translated."""
    coding = importlib.import_module("pydicom.sr.coding")
    scheme, value = str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))
    if scheme in ("SRT", "SNM3", "99SDM"):
        return coding.snomed_mapping["SRT"].get(value, "")
    return value if scheme == SNOMED else ""


def _series(dataset: Any) -> Iterator[str]:  # noqa: ANN401
    for series in dataset.get("ReferencedSeriesSequence") or []:
        yield str(series.SeriesInstanceUID)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield str(series.SeriesInstanceUID)
