"""What the header of a DICOM file says of each of its images."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

GDCM = "GDCMImageIO"
MARK, MARK_STOP = b"DICM", 132  # of a DICOM file, after a preamble
COSINE_TOLERANCE = 1e-3
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and what begins so
HOUNSFIELD = ("", "HU", "US")  # US: unspecified, as most old scanners write
SCOUTS = ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")

READ = (
    *("SOPClassUID", "SeriesInstanceUID", "Modality", "ImageType", "SamplesPerPixel"),
    *("NumberOfFrames", "Rows", "Columns", "PixelSpacing", "RescaleType", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """What a header says of one image.

    Attributes:
        frame: Its number in a file of several images, from 0; None in a file of one.
        series: UID; may be empty.
        stack_name: What a file of several images calls the stack that it belongs to.
        size_xy: Columns and rows.
        spacing_xy_mm: Distance of columns, and of rows.
        position_mm: Of the first pixel, LPS; none in a file that is no slice.
        orientation: Cosines of a row and of a column, LPS; none in a file that is no slice.
        rescale: Slope and intercept of its stored values, if no reader of pixels applies them.
        values_per_pixel: Three of a colour image.
        unit: What its values are, after slope and intercept; HU, or nothing, in a CT.
        captured: Whether it is a picture of a screen.
        number: Of the instance in its series; of a frame, that in its stack.
    """

    path: Path
    frame: int | None
    series: str
    stack_name: str
    modality: str
    image_type: tuple[str, ...]
    size_xy: tuple[int, int]
    spacing_xy_mm: tuple[float, float] | None
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    rescale: tuple[float, float] | None = None
    values_per_pixel: int = 1
    unit: str = ""
    captured: bool = False
    number: int | None = None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame + 1}"

    @property
    def foreign(self) -> str:
        """Why it is no slice of a CT by its nature; empty if it may be one."""
        if self.modality not in ("CT", ""):
            return f"modality {self.modality}"
        if any(scout in part for part in self.image_type for scout in SCOUTS):
            return "a localizer, which is a scout"
        if "PERFUSION" in self.image_type:
            return "a map of perfusion"
        if self.unit not in HOUNSFIELD:
            return f"values in {self.unit}, not in Hounsfield units"
        if self.values_per_pixel != 1:
            return "a picture in colours"
        return "a picture of a screen" if self.captured and self._lacking else ""

    @property
    def obstacle(self) -> str:
        """Why it cannot be part of a CT volume; empty if it can."""
        if self.foreign or not self._lacking:
            return self.foreign
        words = f"no {' and no '.join(self._lacking)}"
        return words if self.frame is None else f"{words} of single frames"

    @property
    def _lacking(self) -> list[str]:
        place = {
            "ImagePositionPatient": self.position_mm,
            "ImageOrientationPatient": self.orientation,
            "PixelSpacing": self.spacing_xy_mm,
        }
        return [name for name, value in place.items() if value is None]

    @property
    def stack(self) -> tuple[object, ...]:
        """What the slices of one volume have in common."""
        rounded = tuple(round(c / COSINE_TOLERANCE) for c in self.orientation or ())
        return self.series, self.stack_name, self.size_xy, self.spacing_xy_mm, rounded

    @property
    def axes(self) -> Vector:
        """The directions of a row, of a column and of the normal, one in each row."""
        cosines = np.asarray(self.orientation, dtype=np.float64)
        row, column = cosines[:3], cosines[3:]
        return np.stack([row, column, np.cross(row, column)])


def read_slices(path: Path) -> list[Slice] | None:
    """Read what a file says of each of its images, if it has any; None if it cannot be read."""
    dataset = _header(path)
    if dataset is None:
        return None
    if not (dataset.get("Rows") and dataset.get("Columns")):  # such as a DICOMDIR
        return []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    count = _numbers([dataset], "NumberOfFrames", 1)
    frames = max(int(count[0]) if count else 1, len(per_frame))
    if frames == 1 and not per_frame:
        return [_slice(path, None, dataset, [dataset])]
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    slices: list[Slice] = []
    for number in range(frames):
        groups = [*per_frame[number : number + 1], *shared[:1]]
        inner = [g for group in groups for e in group if e.VR == "SQ" for g in e.value[:1]]
        slices.append(_slice(path, number, dataset, [*inner, dataset]))
    return slices


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as a DICOM file does, or as one of before there was a mark."""
    return _is_marked(path) or sitk.ImageFileReader.GetImageIOFromFileName(str(path)) == GDCM


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(MARK_STOP)[-len(MARK) :] == MARK


def _header(path: Path) -> Any:  # noqa: ANN401
    """Return a header as pydicom reads it; None if the file is not DICOM or is damaged."""
    import pydicom

    if not is_dicom(path):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that the standard does not allow
            return pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=list(READ), force=not _is_marked(path)
            )
    # what pydicom raises of a damaged file is of any kind
    except Exception:
        return None


def _slice(path: Path, frame: int | None, dataset: Any, places: list[Any]) -> Slice:  # noqa: ANN401
    """Describe one image; what is told of it is looked for in several places, the first first."""
    spacing_yx = _numbers(places, "PixelSpacing", 2)
    slope = _numbers(places, "RescaleSlope", 1) or (1.0,)
    intercept = _numbers(places, "RescaleIntercept", 1) or (0.0,)
    types = (_text([place], name) for place in places for name in ("FrameType", "ImageType"))
    number = _numbers(places, "InstanceNumber" if frame is None else "InStackPositionNumber", 1)
    return Slice(
        path=path,
        frame=frame,
        series=_text([dataset], "SeriesInstanceUID"),
        stack_name=_text(places, "StackID"),
        modality=_text([dataset], "Modality"),
        image_type=tuple(next(filter(None, types), "").split("\\")),
        size_xy=(int(dataset.Columns), int(dataset.Rows)),
        spacing_xy_mm=None if spacing_yx is None else (spacing_yx[1], spacing_yx[0]),
        position_mm=_numbers(places if frame is None else places[:-1], "ImagePositionPatient", 3),
        orientation=_numbers(places, "ImageOrientationPatient", 6),
        rescale=None if frame is None else (slope[0], intercept[0]),
        values_per_pixel=int((_numbers([dataset], "SamplesPerPixel", 1) or (1.0,))[0]),
        unit=_text(places, "RescaleType"),
        captured=_text([dataset], "SOPClassUID").startswith(SECONDARY_CAPTURE),
        number=int(number[0]) if number else None,
    )


def _value(places: list[Any], name: str) -> list[Any]:
    for place in places:
        try:
            found = place.get(name)
        except (ValueError, TypeError, OverflowError):  # pydicom reads a value when it is asked for
            return []
        if found not in (None, ""):
            return [found] if isinstance(found, str | int | float) else list(found)
    return []


def _text(places: list[Any], name: str) -> str:
    return "\\".join(str(part).strip(" \0") for part in _value(places, name))


def _numbers(places: list[Any], name: str, count: int) -> tuple[float, ...] | None:
    try:
        found = tuple(float(v) for v in _value(places, name))
    except (ValueError, TypeError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
