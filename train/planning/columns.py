"""Columns: what a training reads of a manifest, which of a large one is a tenth."""

from pathlib import Path

from manifests.table.case import COMPLETION
from manifests.table.manifest import Manifest, column_bytes, read_manifest
from train.learnt import MOST_OF_FINGERPRINTS

# What a training needs to know of a case.
COLUMNS = (
    *("case_id", "dataset", "subject_id", "related", "split", "fold", "licence", "merged"),
    *("annotated", "voxels"),
    *COMPLETION,
    *("image", "label", "image_sha256", "label_sha256", "size", "spacing_mm", "origin_mm"),
    *("foreground_hu_low", "foreground_hu_high", "foreground_hu_mean", "foreground_hu_std"),
)
FINGERPRINT = "fingerprint"


def read_cases(path: Path) -> Manifest:
    """Read what a training needs of a manifest; fingerprints too, if checkpoints keep them.

    Raises:
        ManifestError: See `read_manifest`.
    """
    kept = column_bytes(path, FINGERPRINT) <= MOST_OF_FINGERPRINTS
    return read_manifest(path, [*COLUMNS, FINGERPRINT] if kept else COLUMNS)
