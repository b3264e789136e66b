"""Rows of cases, for tests of what becomes of rows."""

from manifests.table.case import Case


def row(case_id, **columns):
    """A case of which a test says what it is about."""
    nothing = {
        **dict.fromkeys(("source_image_sha256", "source_label_sha256", "image_sha256"), ""),
        **dict.fromkeys(("label_sha256", "voxels_sha256", "fingerprint", "source_orientation"), ""),
        **dict.fromkeys(("recipe", "recipe_version", "licence", "image", "label"), ""),
        **dict.fromkeys(("blocks", "merged", "annotated", "voxels", "volume_ml"), ()),
        **dict.fromkeys(("related", "findings", "source_size", "source_spacing_mm"), ()),
        **dict.fromkeys(("source_origin_mm", "size", "spacing_mm", "origin_mm"), ()),
        **dict.fromkeys(("hu_min", "hu_max", "hu_mean", "hu_std"), 0.0),
        **dict.fromkeys(("foreground_hu_mean", "foreground_hu_std"), 0.0),
        **dict.fromkeys(("foreground_hu_low", "foreground_hu_high"), 0.0),
        "split": None,
    }
    told = {"case_id": case_id, "dataset": case_id.partition("/")[0], "subject_id": case_id}
    return Case(**{**nothing, **told, **columns})
