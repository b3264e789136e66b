"""Layouts: where a case's image and label lie below a dataset's folder."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from manifests.ground.toml_file import StrictModel

Names = Annotated[tuple[str, ...], Field(min_length=1)]

CASE = "{case}"  # stands for the case's name in a pattern

# What a mask file that is not there says of a case.
MissingMask = Literal["error", "not_annotated", "absent"]


class _Layout(StrictModel):
    """Patterns of the names that an archive, and the folder that holds the dataset, may have.

    Attributes:
        subject: Regular expression of the patient, searched for in the name of the case, or else in
            the paths of its label and its image; its group, if it has one, is the patient's name.
    """

    archives: tuple[str, ...] = ()
    roots: Names
    subject: str | None = None

    @field_validator("archives", "roots", "images", "labels", check_fields=False)
    @classmethod
    def _lie_below(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            path = PurePath(pattern)
            stars = any("**" in part and part != "**" for part in path.parts)
            if not path.parts or path.is_absolute() or stars or "\0" in pattern:
                msg = (
                    f"{pattern!r}: expected a name or a path below the folder of the dataset, "
                    f"with * for a part of a name"
                )
                raise ValueError(msg)
        return patterns

    @field_validator("subject")
    @classmethod
    def _names_the_patient(cls, subject: str | None) -> str | None:
        if subject is not None and _compiled(subject).groups > 1:
            msg = f"{subject!r}: expected one group at most, around the name of the patient"
            raise ValueError(msg)
        return subject


class DecathlonLayout(_Layout):
    """Images and labels are listed in a `dataset.json`, or what `index` calls it, at the root."""

    kind: Literal["decathlon"]
    index: str = "dataset.json"


class NamedLayout(_Layout):
    """A layout in which files are found by their names; `{case}` stands for the case.

    `*` stands for anything within one name, as in `sub-*/*/{case}_ct.nii.gz`.

    Attributes:
        case: Regular expression of a case's name.
        images: Where an image, or its DICOM folder, may lie below the root; the first that exists
            is taken.
        labels: Where a label may lie; the first that exists is taken.
    """

    case: str
    images: Names
    labels: Names

    @field_validator("case")
    @classmethod
    def _is_expression(cls, case: str) -> str:
        _compiled(case, f"(?P<case>{case})")
        return case

    @field_validator("images", "labels")
    @classmethod
    def _name_the_case(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [p for p in patterns if "{case}" not in p]:
            msg = f"{bad[0]!r} does not contain {{case}}"
            raise ValueError(msg)
        return patterns


class PairsLayout(NamedLayout):
    """An image file and a label file for each case.

    Attributes:
        label_order: Where a label's voxels lie: as its header says, or as those of the image's
            DICOM files, slice by slice in the order of the files' names. A folder of PNG pictures,
            one per slice, is such a label too.
        missing_value: What it means that a label lacks a value: its structures are absent from
            the body, or nobody annotated them in this case.
    """

    kind: Literal["pairs"]
    label_order: Literal["header", "image_files"] = "header"
    missing_value: Literal["absent", "not_annotated"] = "absent"


class MasksLayout(NamedLayout):
    """As with pairs, but a label is a folder with one mask file per structure.

    The recipe's `masks` names the files; its `values` follow from them. If the masks of all cases
    lie in one folder, `labels` is a pattern of these files, and `{case}` stands in their names too.

    Attributes:
        missing_mask: What it means that a case lacks a file: nobody annotated its structures in
            this case, they are absent from the body, or the case is set aside.
    """

    kind: Literal["masks"]
    missing_mask: MissingMask = "error"


class DicomLayout(NamedLayout):
    """A label is a DICOM SEG or RTSTRUCT, or a folder that holds such files.

    The recipe's `names` says which of their segments are read. An image is a folder of slices; of
    several series in it, the one that the label refers to is taken. Both may be the same folder.

    Attributes:
        modality: The kind of label that is read, where a folder holds both.
        threshold: Share of the greatest value from which on a voxel of a FRACTIONAL SEG counts.
        missing_mask: What it means that a case has no segment of a name, as with masks.
    """

    kind: Literal["dicom"]
    modality: Literal["SEG", "RTSTRUCT"] | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    missing_mask: MissingMask = "error"


class SlicerLayout(NamedLayout):
    """A label is a segmentation of 3D Slicer's, a `.seg.nrrd` file.

    The recipe's `names` says which of its segments are read.

    Attributes:
        missing_mask: What it means that a case has no segment of a name, as with masks.
    """

    kind: Literal["slicer"]
    missing_mask: MissingMask = "error"


SegmentsLayout = DicomLayout | SlicerLayout


def _compiled(expression: str, whole: str | None = None) -> re.Pattern[str]:
    try:
        return re.compile(whole or expression)
    except (re.error, RecursionError, OverflowError) as error:
        msg = f"{expression!r} is not a regular expression that can be used: {error}"
        raise ValueError(msg) from error


def files_like(root: Path, pattern: str, case: str | None = None) -> Iterator[Path]:
    """Files below a folder like a pattern of a layout, of one case or of any, in no order."""
    name = "*" if case is None else glob.escape(case)
    return root.glob(glob.escape(pattern).replace("[*]", "*").replace("{case}", name))


Layout = Annotated[
    DecathlonLayout | PairsLayout | MasksLayout | DicomLayout | SlicerLayout,
    Field(discriminator="kind"),
]
