"""Companions: what is written beside a label map, if it is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from manifests.classes.label_space import LabelSpace
from manifests.volumes.grid import Grid
from train.prediction import dicom_seg as seg_file
from train.prediction import probability_file
from train.prediction import rtstruct as rtstruct_file
from train.prediction.dicom_source import DicomSource, check_series, note_in, read_source
from train.prediction.sliding_window import ClassProbabilities

COMPANION_SUFFIXES = (seg_file.SUFFIX, rtstruct_file.SUFFIX, probability_file.SUFFIX)


@dataclass(frozen=True)
class Segmented:
    """What a network made of a scan.

    Attributes:
        labels: Class ids on the scan's own grid.
        probs: Each class's probability [N, z, y, x], of half precision; None if not kept.
        grid: Where these lie: the network's.
    """

    labels: sitk.Image
    probs: ClassProbabilities | None
    grid: Grid


@dataclass(frozen=True)
class Companions:
    """Which files are wanted beside each label map.

    Attributes:
        dicom_seg: The type of the DICOM SEG `scan.seg.dcm`; None for no such file.
        rtstruct: Write `scan.rtstruct.dcm`.
        probabilities: Write `scan.probabilities.npz`.
    """

    dicom_seg: seg_file.SegmentationType | None = None
    rtstruct: bool = False
    probabilities: bool = False

    def check(self, scans: Sequence[Path]) -> None:
        """Refuse what is wanted of scans of which it cannot be made.

        Raises:
            TrainingError: DICOM is wanted, and a scan is none or highdicom is not installed.
        """
        if self.dicom_seg:
            check_series(scans, seg_file.OPTION, seg_file.WHAT)
        if self.rtstruct:
            check_series(scans, rtstruct_file.OPTION, rtstruct_file.WHAT)

    def source(self, scan: Path) -> DicomSource | None:
        """Return what DICOM beside the label map refers to, before the scan is segmented.

        Raises:
            TrainingError: DICOM is wanted, and the scan was resampled or lies in one file.
        """
        if self.dicom_seg:
            return read_source(scan, seg_file.WHAT, seg_file.OPTION)
        if self.rtstruct:
            return read_source(scan, rtstruct_file.WHAT, rtstruct_file.OPTION)
        return None

    def are_there(self, output: Path, note: str) -> bool:
        """Return whether the files beside a label map are there and bear its note."""
        seg, structures, probs = (_beside(output, suffix) for suffix in COMPANION_SUFFIXES)
        return (
            (not self.dicom_seg or seg_file.is_written(seg, self.dicom_seg, note))
            and (not self.rtstruct or note_in(structures, rtstruct_file.NOTE) == note)
            and (not self.probabilities or probability_file.note_in_file(probs) == note)
        )

    def write(
        self,
        made: Segmented,
        space: LabelSpace,
        source: DicomSource | None,
        output: Path,
        *,
        note: str,
    ) -> None:
        """Write the files beside the label map `output` of a scan.

        Raises:
            TrainingError: The source lacks what DICOM refers to.
        """
        seg, structures, probs = (_beside(output, suffix) for suffix in COMPANION_SUFFIXES)
        classes = sitk.GetArrayViewFromImage(made.labels)
        if source and self.dicom_seg:
            seg_file.write_dicom_seg(classes, space, source, seg, kind=self.dicom_seg, note=note)
        if source and self.rtstruct:
            rtstruct_file.write_rtstruct(classes, space, source, structures, note=note)
        if self.probabilities and made.probs is not None:
            probability_file.write_probabilities(made.probs, made.grid, space, probs, note=note)


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name.removesuffix('.nii.gz')}{suffix}")
