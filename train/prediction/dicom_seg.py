"""DICOM SEG: a label map as a DICOM segmentation of the series that it was made from."""

import importlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from manifests.classes.colour_tables import rgb
from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.classes.structures import vocabulary
from manifests.ground.atomic import whole_file
from manifests.volumes.readers.dicom_distances import UNEVEN
from train.prediction.dicom_source import DicomSource, note_in
from train.prediction.sliding_window import ClassVolume

# SNOMED CT: value, scheme, meaning
_ANATOMY = ("123037004", "SCT", "Anatomical Structure")  # of CID 7150, as the next
_ALTERED = ("49755003", "SCT", "Morphologically Altered Structure")
_TISSUE = ("85756007", "SCT", "Tissue")  # where a class has no code of its own
_SIDES = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
_NETWORK = ("123110", "DCM", "Artificial Intelligence")
_SERIES_NUMBER = 300

# a frame for each slice of each class, or one for each slice with the numbers of its classes
SegmentationType = Literal["binary", "labelmap"]
SUFFIX = ".seg.dcm"
NOTE = "ContentDescription"
WHAT, OPTION = "a DICOM SEG", "--dicom-seg"

_SIDE_OF_TYPE = "SegmentedPropertyTypeModifierCodeSequence"
_SIDE_OF_REGION = "AnatomicRegionModifierSequence"


def write_dicom_seg(
    classes: ClassVolume,
    space: LabelSpace,
    series: DicomSource | Path,
    output: Path,
    *,
    kind: SegmentationType = "binary",
    note: str = "",
) -> None:
    """Write one segment for each class of a label space.

    Args:
        classes: Class ids on the grid that the series was read with.
        space: The classes, with their SNOMED CT codes and colours.
        series: The slices, or the folder of them.
        output: The file to write.
        kind: How the segments are stored.
        note: A description of the content, of at most 64 characters.

    Raises:
        TrainingError: The slices lack what a DICOM SEG refers to, or what was written cannot be
            read back.
        SetAsideError: The folder cannot be used, was resampled, or lies in one file.
    """
    source = DicomSource.of(series)
    hd = importlib.import_module("highdicom")
    described = (_described(hd, n, entry) for n, entry in enumerate(space.classes, start=1))
    try:
        _complete(hd, source.slices)
        segmentation = hd.seg.Segmentation(
            source_images=source.slices,
            pixel_array=classes,
            segmentation_type=hd.seg.SegmentationTypeValues(kind.upper()),
            segment_descriptions=list(described),
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="marginalia",
            manufacturer_model_name="marginalia",
            software_versions=version("marginalia"),
            device_serial_number="0",
            series_description=f"marginalia {space.name}",
            content_label=space.name[:16].upper(),
            content_description=note or None,
        )
        with whole_file(output) as temporary:
            segmentation.save_as(temporary)
            _read_back(hd, temporary)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise source.refusal(WHAT, OPTION, error) from error


def is_written(path: Path, kind: SegmentationType, note: str) -> bool:
    """Return whether a file is the DICOM SEG of this type that bears this note."""
    return note_in(path, NOTE) == note and note_in(path, "SegmentationType") == kind.upper()


def _complete(hd: Any, sources: Sequence[Any]) -> None:  # noqa: ANN401
    """Add to the slices, in memory, what may be empty in a DICOM CT and a DICOM SEG needs.

    Nobody knows how thick a slice without SliceThickness is: the distance to the next stands for
    it.
    """
    distance_mm, _ = hd.spatial.get_series_volume_positions(sources, rtol=UNEVEN)
    for source in sources:
        if not source.get("SliceThickness"):
            source.SliceThickness = distance_mm


def _read_back(hd: Any, written: Path) -> None:  # noqa: ANN401
    """Read the place of the segments, which fails where the standard's attributes are missing."""
    segmentation = hd.seg.segread(written, lazy_frame_retrieval=True)
    segmentation.get_volume_geometry(rtol=UNEVEN, allow_missing_positions=True)


def _described(hd: Any, number: int, entry: LabelClass) -> Any:  # noqa: ANN401
    # a code's meaning is free text; the class's name in words will do
    words = entry.name.replace("_", " ").capitalize()
    region = entry.snomed_region
    category = _ALTERED if region else _ANATOMY
    kind = (entry.snomed, "SCT", "Neoplasm" if region else words) if entry.snomed else _TISSUE
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=entry.name,
        segmented_property_category=hd.sr.CodedConcept(*category),
        segmented_property_type=hd.sr.CodedConcept(*kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="marginalia", family=hd.sr.CodedConcept(*_NETWORK), version=version("marginalia")
        ),
        anatomic_regions=[hd.sr.CodedConcept(region, "SCT", _organ(region))] if region else None,
        display_color=hd.color.CIELabColor.from_rgb(*rgb(entry.colour)),
    )
    if entry.laterality:
        side = hd.sr.CodedConcept(*_SIDES[entry.laterality])
        # within the code that it modifies (PS3.3, C.8.20.4): dcmqi finds it nowhere else
        within = "AnatomicRegionSequence" if region else "SegmentedPropertyTypeCodeSequence"
        setattr(described[within][0], _SIDE_OF_REGION if region else _SIDE_OF_TYPE, [side])
    return described


def _organ(code: str) -> str:
    """Return a meaning, which is free text, for an organ's code, without a side."""
    names = (n for n, s in vocabulary().items() if s.code == code)
    return next(names, "organ").removeprefix("left_").replace("_", " ").capitalize()
