"""Findings: what was noticed about a case, as a code that machines count and a reason to read."""

from dataclasses import dataclass
from types import MappingProxyType

from manifests.ground.errors import MarginaliaError

MEANINGS = MappingProxyType(
    {
        # repaired or merely noted: the case stays
        "grid_rounding": "image and label headers differed by rounding; the image's was used",
        "label_reoriented": "the label's axes had another order or direction; it was reoriented",
        "forms_disagree": "the header's sform and qform place the voxels differently",
        "orientation_unstated": "the header does not give an orientation; LPS was assumed",
        "axes_skewed": "the axes were not quite at right angles; the nearest rotation was used",
        "axes_oblique": "the axes are oblique to the patient's; resampled by physical position",
        "axes_left_handed": "the axes are left-handed (as LAS is); resampled by physical position",
        "single_volume_4d": "the file has four or more dimensions, but only one volume",
        "nonfinite_replaced": "NaN or infinite values, few or outside the body, were set to air",
        "intensity_wrapped": "negative intensities were stored 65536 too high; it was subtracted",
        "intensity_offset": "intensities were stored 1024 too high; 1024 was subtracted",
        "intensity_offset_suspected": "intensities may be stored 1024 too high; left unchanged",
        "intensity_suspect": "the intensities do not look like a complete CT; left unchanged",
        "intensity_clamped": "intensities above 32767 were set to 32767",
        "padding_clamped": "intensities below -1024 HU, usually padding, were set to -1024",
        "label_rounded": "label values were very close to whole numbers; they were rounded",
        "label_empty": "the label has no voxels: the structures that it annotates are absent",
        "masks_overlap": "masks overlap; the mask that the recipe lists first got the voxels",
        "dicom_series_chosen": "other files in the folder of the CT series were ignored",
        "dicom_slices_duplicate": "slices that were present twice were used once",
        "dicom_spacing_uneven": "the slice spacing varies by up to a tenth; the mean was used",
        "spacing_suspect": "a spacing of exactly 1 x 1 x 1 mm on a CT: the header is probably lost",
        "laterality_suspect": "the header's left and right contradict the anatomy",
        "anteroposterior_suspect": "the header's front and back contradict the anatomy",
        "craniocaudal_suspect": "the header's head and foot contradict the anatomy",
        "nothing_annotated": "the recipe distinguishes none of the label space's classes",
        "class_absent": "a class that the recipe annotates has no voxels in this case",
        "duplicate_image": "another case shows exactly the same image",
        "related_image": "another case shows part of the same image",
        "same_patient": "another case is known to show the same patient",
        "fused": "combined from cases of one image that annotate different structures",
        "labels_conflict": "copies of one image label the same voxels differently",
        "single_kidney": "there is only one kidney; the body's midline decided its side",
        "kidney_side_unclear": "too close to the midline, or to each other, to decide the side",
        "kidneys_fused": "the kidneys are fused (horseshoe or crossed), or touch",
        "kidneys_same_side": "both kidneys are on one side of the body",
        "kidney_fragments": "fragments were assigned to the nearest kidney",
        "kidney_volume_suspect": "a kidney has less than 20 mL or more than 3 L",
        "no_kidney": "the label has no kidney",
        "kidneys_overridden": "an override decided the sides of the kidneys",
        # set aside: the case does not enter the manifest
        "unreadable": "the image or the label cannot be read",
        "truncated": "a file ends before the last voxel that its header promises",
        "header_implausible": "a header describes more data than its file holds or is allowed",
        "several_volumes": "a file holds several volumes, or several values per voxel",
        "file_missing": "the image or the label is missing",
        "files_ambiguous": "several images, or several labels, of the case match one pattern",
        "intensity_invalid": "there are many NaN or infinite intensities within the body",
        "not_hounsfield": "the intensities are not Hounsfield units: grey levels, or one value",
        "value_unlisted": "the label holds values that the recipe does not list",
        "grid_mismatch": "image and label are not on the same grid",
        "label_not_integer": "the label holds values that are not integers",
        "label_negative": "the label holds negative values",
        "geometry_invalid": "the spacing, size or direction is not possible",
        "dicom_not_volume": "the folder holds no CT series of single-slice files",
        "dicom_series_mixed": "the folder holds several CT series, or one of several scans",
        "dicom_slices_missing": "slices are missing between the first and the last",
        "dicom_gantry_tilt": "the slices are shifted against each other, as by a tilted gantry",
        "not_written": "the disk is full or over a quota; run again when there is space",
        "skipped": "an override excludes the case",
        "override_impossible": "an override does not fit the case",
        "worker_died": "the process that prepared the case died, usually out of memory",
        "failed": "preparing the case raised an unexpected error",
    }
)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing noticed about one case.

    Attributes:
        code: A key of `MEANINGS`.
        reason: What was seen in this case, with the numbers.
    """

    code: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse a code that is not in the table, so that no code goes undocumented."""
        if self.code not in MEANINGS:
            msg = f"unknown finding code {self.code!r}; add it to `MEANINGS`"
            raise KeyError(msg)


class SetAsideError(MarginaliaError):
    """A file or a case cannot be used; carries the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        """Say what was seen."""
        super().__init__(finding.reason)
        self.finding = finding
