"""DICOM SEG: a label map as a DICOM segmentation of the series that it was made from."""

import importlib
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from manifests.classes.colour_tables import rgb
from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.classes.structures import vocabulary
from manifests.ground.atomic import whole_file
from manifests.ground.errors import TrainingError
from manifests.volumes.readers.dicom import slice_files
from manifests.volumes.readers.dicom_distances import UNEVEN
from train.prediction.sliding_window import ClassVolume

# SNOMED CT: value, scheme, meaning
_ANATOMY = ("123037004", "SCT", "Anatomical Structure")  # of CID 7150, as the next
_ALTERED = ("49755003", "SCT", "Morphologically Altered Structure")
_TISSUE = ("85756007", "SCT", "Tissue")  # where a class has no code of its own
_SIDES = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
_NETWORK = ("123110", "DCM", "Artificial Intelligence")
_SERIES_NUMBER = 300

# of type 2, and asked for by highdicom
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)

_SIDE_OF_TYPE = "SegmentedPropertyTypeModifierCodeSequence"
_SIDE_OF_REGION = "AnatomicRegionModifierSequence"


def check_dicom_seg(scans: list[Path]) -> None:
    """Refuse what cannot become a DICOM SEG before anything is done.

    Raises:
        TrainingError: A scan is no DICOM series, or highdicom is not installed.
    """
    if find_spec("highdicom") is None:
        msg = (
            "DICOM SEG is written by highdicom, which is not there: pip install 'marginalia[dicom]'"
        )
        raise TrainingError(msg)
    for scan in scans:
        if not scan.is_dir():
            msg = (
                f"{scan} is not a DICOM series, and a DICOM SEG refers to the slices of one: "
                f"predict the folder of its slices, or leave out --dicom-seg"
            )
            raise TrainingError(msg)


def write_dicom_seg(classes: ClassVolume, space: LabelSpace, series: Path, output: Path) -> None:
    """Write one binary segment for each class of a label space.

    Args:
        classes: Class ids on the grid that the series was read with.
        space: The classes, with their SNOMED CT codes and colours.
        series: The folder of the slices.
        output: The file to write.

    Raises:
        SetAsideError: The series cannot be used.
        TrainingError: Its slices lack what a DICOM SEG refers to, or what was written cannot be
            read back.
    """
    hd, pydicom = importlib.import_module("highdicom"), importlib.import_module("pydicom")
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in slice_files(series)]
    described = (_described(hd, n, entry) for n, entry in enumerate(space.classes, start=1))
    try:
        _complete(hd, sources)
        segmentation = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=classes,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
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
        )
        with whole_file(output) as temporary:
            segmentation.save_as(temporary)
            _read_back(hd, temporary)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        msg = (
            f"{series} cannot be referred to by a DICOM SEG: expected slices with all identities "
            f"of a DICOM CT, which an anonymiser may have taken; got {error!r}; leave out "
            f"--dicom-seg"
        )
        raise TrainingError(msg) from error


def _complete(hd: Any, sources: Sequence[Any]) -> None:  # noqa: ANN401
    """Add to the slices, in memory, what may be empty in a DICOM CT and a DICOM SEG needs.

    Nobody knows how thick a slice without SliceThickness is: the distance to the next stands for
    it. Attributes of type 2, which an anonymiser may have deleted, are empty.
    """
    distance_mm, _ = hd.spatial.get_series_volume_positions(sources, rtol=UNEVEN)
    for source in sources:
        for name in _MAY_BE_EMPTY:
            if name not in source:
                setattr(source, name, None)
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
        where = described.AnatomicRegionSequence[0] if region else described
        setattr(where, _SIDE_OF_REGION if region else _SIDE_OF_TYPE, [side])
    return described


def _organ(code: str) -> str:
    """Return a meaning, which is free text, for an organ's code, without a side."""
    names = (n for n, s in vocabulary().items() if s.code == code)
    return next(names, "organ").removeprefix("left_").replace("_", " ").capitalize()
