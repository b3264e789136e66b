"""Findings: what was noticed about a case, as a code that machines count and a reason to read."""

from dataclasses import dataclass
from types import MappingProxyType

MEANINGS = MappingProxyType(
    {
        # repaired or merely noted: the case stays
        "grid_rounding": "image and label headers differed by rounding; the image's was used",
        "spacing_suspect": "a spacing of exactly 1 x 1 x 1 mm on a CT: the header was likely lost",
        "nothing_annotated": "the recipe tells none of the label space's classes apart",
        "class_absent": "a class that the recipe annotates has no voxel here",
        "duplicate_image": "another case holds the same voxels",
        "single_kidney": "one kidney only; its side was decided against the body's midline",
        "kidney_side_unclear": "one kidney only, too close to the midline to name its side",
        "kidneys_fused": "the kidneys are fused (horseshoe or crossed)",
        "kidneys_same_side": "both kidneys lie on one side of the body",
        "kidney_fragments": "fragments were joined to the nearest kidney",
        "no_kidney": "the label holds no kidney",
        # set aside: the case does not enter the manifest
        "unreadable": "the image or the label cannot be read",
        "file_missing": "the image or the label is not there",
        "intensity_invalid": "the image holds NaN or infinite intensities",
        "value_unlisted": "the label holds values that the recipe does not list",
        "grid_mismatch": "image and label do not lie on the same grid",
        "label_not_integer": "the label holds values that are not integers",
        "geometry_invalid": "the spacing, size or direction makes no sense",
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
            msg = f"unknown finding code {self.code!r}; add it to manifests.findings.MEANINGS"
            raise KeyError(msg)
