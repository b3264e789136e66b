"""A folder of patients in DICOM: which folders are cases, and what labels call their segments."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from curate.dicom_labels.file_head import sop_class_of
from curate.dicom_labels.label_objects import (
    SOP_CLASSES,
    LabelObject,
    Modality,
    read_label_object,
    require_reader,
)
from curate.drafts.file_patterns import CASE, case_expression
from curate.drafts.segment_counts import count_names
from curate.recipes.layouts import DicomLayout, MasksLayout
from manifests.classes.structure_names import structures_named
from manifests.ground.errors import SourceError
from manifests.ground.findings import SetAsideError

CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")


@dataclass(frozen=True)
class DicomFolder:
    """How the DICOM labels of a folder lie, and what they say.

    Attributes:
        names: Expressions of the segments' names, as a recipe lists them, the most frequent first;
            or names of the masks, if a mask is a folder of slices.
        counts: Number of cases that have each segment; none of masks.
    """

    layout: DicomLayout | MasksLayout
    names: tuple[str, ...]
    counts: Mapping[str, int]


def look_at_dicom(folder: Path, files: Iterable[str], roots: tuple[str, ...]) -> DicomFolder | None:
    """Look at the DICOM files among `files`, paths below a folder; None if none is a label.

    Raises:
        SourceError: No level of folders has one CT and its labels in each folder.
    """
    classes = {path: sop_class_of(folder / path) for path in files}
    labels = {path: SOP_CLASSES[uid] for path, uid in classes.items() if uid in SOP_CLASSES}
    if not labels:
        return _masks_of_slices([path for path, uid in classes.items() if uid in CT], roots)
    require_reader()
    modality: Modality | None = "SEG" if len({*labels.values()}) > 1 else None
    wanted = [path for path, kind in labels.items() if modality in (None, kind)]
    images = [path for path, uid in classes.items() if uid in CT]
    objects = _readable(folder, wanted)
    depth = _depth_of_cases(objects, images)
    if depth is None:
        msg = (
            f"{folder}: expected a folder for each patient or study, with one CT series and the "
            f"labels that refer to it, and with a name that no other one has; got "
            f"{len(wanted)} DICOM labels, such as {wanted[0]}, and {len(images)} CT files: put "
            f"them into such folders, or write the recipe by hand: docs/how_to/recipes.md shows one"
        )
        raise SourceError(msg)
    cases = {PurePosixPath(path).parts[depth - 1] for path in objects}
    pattern = "*/" * (depth - 1) + CASE
    layout = DicomLayout(
        kind="dicom",
        roots=roots,
        case=case_expression(cases),
        images=(pattern,),
        labels=(pattern,),
        modality=modality,
    )
    counts = count_names(_segments(objects, depth))
    return DicomFolder(layout, tuple(counts), counts)


def _masks_of_slices(images: Sequence[str], roots: tuple[str, ...]) -> DicomFolder | None:
    """Return how folders of slices lie that are named after structures, each beside a CT's folder.

    As in `patient/MASKS_DICOM/liver/slice` and `patient/PATIENT_DICOM/slice`.
    """
    series = {PurePosixPath(path).parent for path in images}
    parents = {s.parent for s in series if structures_named(s.name) and len(s.parts) > 2}
    masks = {s for s in series if s.parent in parents}
    beside = series - masks
    cases = {p.parent for p in parents if [s for s in beside if s.parent == p.parent]}
    places = {p.name for p in parents if p.parent in cases}
    scans = {s.name for s in beside if s.parent in cases}
    if len({len(case.parts) for case in cases}) != 1 or len(places) != 1 or len(scans) != 1:
        return None
    pattern = "*/" * (len(min(cases).parts) - 1) + CASE
    layout = MasksLayout(
        kind="masks",
        roots=roots,
        case=case_expression(case.name for case in cases),
        images=(f"{pattern}/{scans.pop()}",),
        labels=(f"{pattern}/{places.pop()}",),
    )
    return DicomFolder(layout, tuple(sorted({m.name for m in masks})), {})


def _readable(folder: Path, paths: Sequence[str]) -> dict[str, LabelObject]:
    found: dict[str, LabelObject] = {}
    for path in paths:
        try:
            found[path] = read_label_object(folder / path)
        except SetAsideError:  # told when the case is read
            continue
    return found


def _depth_of_cases(objects: Mapping[str, LabelObject], images: Sequence[str]) -> int | None:
    """Return how deep the folders lie that have one series with labels each; None if nowhere."""
    places = {path: PurePosixPath(path).parts[:-1] for path in (*objects, *images)}
    for depth in range(1, min((len(places[path]) for path in objects), default=0) + 1):
        series = defaultdict[tuple[str, ...], set[str]](set)
        for path, label in objects.items():
            series[places[path][:depth]] |= label.series
        with_image = {places[path][:depth] for path in images}
        names = {case[-1] for case in series}
        alone = all(len(of_case) <= 1 for of_case in series.values())
        if alone and series.keys() <= with_image and len(names) == len(series):
            return depth
    return None


def _segments(objects: Mapping[str, LabelObject], depth: int) -> dict[str, list[tuple[int, str]]]:
    """Return the numbers and names of the segments of each case."""
    found = defaultdict[str, list[tuple[int, str]]](list)
    for path, label in objects.items():
        found[PurePosixPath(path).parts[depth - 1]] += [(s.number, s.name) for s in label.segments]
    return found
