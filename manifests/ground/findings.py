"""Findings: what was noticed about a case, as a code that machines count and a reason to read."""

from dataclasses import dataclass
from types import MappingProxyType

from manifests.ground.errors import MarginaliaError

MEANINGS = MappingProxyType(
    {
        # repaired or merely noted: the case stays
        "grid_rounding": "image and label headers differed by rounding; the image's was used",
        "label_reoriented": "the label was stored in another order of axes; it was turned",
        "forms_disagree": "the header says in two ways where the voxels lie, and they differ",
        "orientation_unstated": "the header does not say how the patient lies; LPS was taken",
        "axes_skewed": "the axes were not quite at right angles; the nearest rotation was taken",
        "axes_oblique": "the axes are oblique to the body's; resampled by physical position",
        "axes_left_handed": "the axes are left-handed (as LAS is); resampled by physical position",
        "single_volume_4d": "the file has four or more dimensions, with one volume; it was taken",
        "nonfinite_replaced": "NaN or infinite intensities, few or outside the body, became air",
        "intensity_wrapped": "negative intensities were stored as 65536 more; it was subtracted",
        "intensity_offset": "intensities were stored 1024 too high; 1024 was subtracted",
        "intensity_offset_suspected": "intensities may be stored 1024 too high; left as they are",
        "intensity_suspect": "the intensities do not look like a whole CT; left as they are",
        "intensity_clamped": "intensities above 32767 were set to 32767",
        "padding_clamped": "intensities below -1024 HU, most often padding, were set to -1024",
        "label_rounded": "label values were off whole numbers by a trifle; they were rounded",
        "label_empty": "the label has no voxel: what it annotates is absent",
        "masks_overlap": "masks overlap; the voxels went to the mask that the recipe lists first",
        "dicom_series_chosen": "files beside the one CT series were left out",
        "dicom_slices_duplicate": "slices that stood there twice were taken once",
        "dicom_spacing_uneven": "the slices' distances vary by up to a tenth; the mean was used",
        "spacing_suspect": "a spacing of exactly 1 x 1 x 1 mm on a CT: the header was likely lost",
        "laterality_suspect": "left and right of the header contradict the anatomy",
        "anteroposterior_suspect": "front and back of the header contradict the anatomy",
        "craniocaudal_suspect": "head and foot of the header contradict the anatomy",
        "nothing_annotated": "the recipe tells none of the label space's classes apart",
        "class_absent": "a class that the recipe annotates has no voxel here",
        "duplicate_image": "another case shows the same image, whole",
        "related_image": "another case shows the same image in part",
        "same_patient": "another case is known to show the same patient",
        "fused": "made of cases of one image that annotate different structures",
        "labels_conflict": "copies of one image label the same voxels differently",
        "single_kidney": "one kidney only; its side was decided against the body's midline",
        "kidney_side_unclear": "too close to the midline, or to each other, to name a side",
        "kidneys_fused": "the kidneys are fused (horseshoe or crossed), or touch",
        "kidneys_same_side": "both kidneys lie on one side of the body",
        "kidney_fragments": "fragments were joined to the nearest kidney",
        "kidney_volume_suspect": "a kidney of less than 20 mL or more than 3 L",
        "no_kidney": "the label holds no kidney",
        "kidneys_overridden": "a person decided on the sides of the kidneys",
        # set aside: the case does not enter the manifest
        "unreadable": "the image or the label cannot be read",
        "truncated": "a file ends before the voxels that its header promises",
        "header_implausible": "a header claims more than its file can hold, or than can be used",
        "several_volumes": "a file holds several volumes, or several values per voxel",
        "file_missing": "the image or the label is not there",
        "files_ambiguous": "several images, or several labels, of the case fit one pattern",
        "intensity_invalid": "many NaN or infinite intensities, within the body",
        "not_hounsfield": "the intensities are no Hounsfield units: grey levels, or one value only",
        "value_unlisted": "the label holds values that the recipe does not list",
        "grid_mismatch": "image and label do not lie on the same grid",
        "label_not_integer": "the label holds values that are not integers",
        "label_negative": "the label holds negative values",
        "geometry_invalid": "the spacing, size or direction makes no sense",
        "dicom_not_volume": "the folder holds no CT series of single slices",
        "dicom_series_mixed": "the folder holds several CT series, or one of several scans",
        "dicom_slices_missing": "slices are missing between others",
        "dicom_gantry_tilt": "the slices are shifted against each other, as by a tilted gantry",
        "not_written": "the disk took no more (full, or a quota); run again when there is room",
        "skipped": "a person decided to leave the case out",
        "override_impossible": "a person's decision does not fit the case",
        "worker_died": "the process that prepared the case died (most often: out of memory)",
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
