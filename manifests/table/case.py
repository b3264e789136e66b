"""One row of the manifest, and the Arrow schema made from its fields."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, Self, cast, get_args

import pyarrow as pa

from manifests.classes.completion import Origin
from manifests.ground.findings import Finding

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
TABLE_PREFIX = "table_"  # of further columns, which come from a dataset's own table

_text = pa.string()
_texts = pa.list_(pa.string())
_counts = pa.list_(pa.int64())
_numbers = pa.list_(pa.float64())
_places = pa.list_(pa.list_(pa.float64()))
_findings = pa.list_(pa.struct([("code", pa.string()), ("reason", pa.string())]))


def _column(arrow: pa.DataType, doc: str, *, nullable: bool = False, **more: Any) -> Any:  # noqa: ANN401
    return field(metadata={"type": arrow, "nullable": nullable, "metadata": {"doc": doc}}, **more)


def _optional(arrow: pa.DataType, doc: str) -> Any:  # noqa: ANN401
    return _column(arrow, doc, nullable=True, default=None)


ByClass = tuple[float | None, ...]  # by class id
PlaceByClass = tuple[tuple[float, ...] | None, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One harmonised case: one CT volume, one label volume, and who labelled what.

    "before" is the file as it was published, "after" the harmonised case. Vectors in space are
    in x, y, z order; origins are in LPS millimetres.
    """

    case_id: str = _column(_text, "unique in the manifest: dataset/name")
    dataset: str = _column(_text, "the recipe's dataset")
    subject_id: str = _column(_text, "the patient, the same for related cases, in one split only")
    split: Split | None = _column(_text, "train, validation, test, or unassigned", nullable=True)
    fold: int | None = _column(
        pa.int64(), "fold of a cross-validation, or none", nullable=True, default=None
    )
    image: str = _column(_text, "path of the int16 volume in HU, relative to the manifest")
    label: str = _column(_text, "path of the uint8 volume of representatives, relative too")

    blocks: tuple[tuple[str, ...], ...] = _column(
        pa.list_(_texts), "the structures that one label value covers, value by value"
    )
    merged: tuple[int, ...] = _column(
        _counts, "representative of each class: the join of blocks and label space"
    )
    annotated: tuple[str, ...] = _column(_texts, "classes told apart from every other class")
    voxels: tuple[int, ...] = _column(_counts, "voxels of each class id in the label, after")
    volume_ml: tuple[float, ...] = _column(_numbers, "volume of each class id in millilitres")
    ignored: int = _column(pa.int64(), "voxels that nobody looked at, after", default=0)

    # of a case that `complete` gave a second label; null for others
    completed: str | None = _optional(_text, "path of the label that a model completed, relative")
    completed_sha256: str | None = _optional(_text, "hash of the file of the completed label")
    completed_merged: tuple[int, ...] | None = _optional(
        _counts, "representative of each class in the completed label"
    )
    completed_by: str | None = _optional(
        _text, "the model: completed/NAME.json says which weights, and what they learnt from"
    )
    origin: tuple[Origin, ...] | None = _optional(
        _texts, "who told each class id apart in the completed label: annotated, model or none"
    )

    source_image_sha256: str = _column(_text, "hash of the image file that was read")
    source_label_sha256: str = _column(_text, "hash of the label file that was read")
    image_sha256: str = _column(_text, "hash of the image file that was written")
    label_sha256: str = _column(_text, "hash of the label file that was written")
    voxels_sha256: str = _column(_text, "hash of the image's voxels, after")
    fingerprint: str = _column(
        _text, "keypoints of the image, before: base64, for manifests.fingerprints; at most 3.9 kB"
    )
    related: tuple[str, ...] = _column(
        _texts, "ids of cases of the same image or patient; splits never part them"
    )

    source_size: tuple[int, ...] = _column(_counts, "voxels along the file's axes, before")
    source_spacing_mm: tuple[float, ...] = _column(_numbers, "along the file's axes, before")
    source_origin_mm: tuple[float, ...] = _column(_numbers, "LPS, before")
    source_orientation: str = _column(_text, "where the file's axes point, as in RAS, before")
    size: tuple[int, ...] = _column(_counts, "voxels, after")
    spacing_mm: tuple[float, ...] = _column(_numbers, "after")
    origin_mm: tuple[float, ...] = _column(_numbers, "LPS, after")

    hu_min: float = _column(pa.float64(), "least intensity, after")
    hu_max: float = _column(pa.float64(), "greatest intensity, after")
    hu_mean: float = _column(pa.float64(), "mean intensity, after")
    hu_std: float = _column(pa.float64(), "standard deviation of the intensity, after")
    foreground_hu_mean: float = _column(pa.float64(), "mean over labelled voxels; NaN if none")
    foreground_hu_std: float = _column(pa.float64(), "standard deviation over labelled voxels")
    foreground_hu_low: float = _column(pa.float64(), "0.5th percentile over labelled voxels")
    foreground_hu_high: float = _column(pa.float64(), "99.5th percentile over labelled voxels")

    # of each class that is one organ, is annotated alone and has a label; null for others
    suspicion: ByClass | None = _optional(
        _numbers, "how odd the label of each class id is; 1 and more has a finding that says why"
    )
    class_hu_mean: ByClass | None = _optional(_numbers, "mean intensity in each class id's organ")
    class_hu_std: ByClass | None = _optional(_numbers, "standard deviation of it")
    border_gradient: ByClass | None = _optional(
        _numbers, "mean inward gradient at each label's border, HU/mm"
    )
    border_offset_mm: PlaceByClass | None = _optional(
        _places, "how to move each label so that its border fits best: x, y, z, LPS"
    )
    place_in_body: PlaceByClass | None = _optional(
        _places, "middle of each label in the body's box: 0 at the right, the front, the foot"
    )
    end_share: ByClass | None = _optional(
        _numbers, "area of each label's most abrupt end, of its largest slice"
    )
    cut_by_scan: tuple[bool | None, ...] | None = _optional(
        pa.list_(pa.bool_()), "whether each label reaches the scan's first or last slice"
    )
    robust_z: ByClass | None = _optional(
        _numbers, "largest robust z of volume, intensity and place in the dataset of ten or more"
    )

    findings: tuple[Finding, ...] = _column(_findings, "what was noticed: code and reason")
    recipe: str = _column(_text, "name of the recipe")
    recipe_version: str = _column(_text, "version of the recipe")
    licence: str = _column(_text, "SPDX name, or words, of the dataset's licence")

    def to_row(self) -> dict[str, Any]:
        """Return the row as plain Python values."""
        row: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        row["findings"] = [{"code": f.code, "reason": f.reason} for f in self.findings]
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Return the case of a row, without columns that are not in the schema."""
        # an older row lacks columns that came later
        row = {**LATER, **row}
        values: dict[str, Any] = {f.name: as_tuple(row[f.name]) for f in fields(cls)}
        values["findings"] = tuple(Finding(f["code"], f["reason"]) for f in row["findings"])
        return cls(**values)


def as_tuple(value: Any) -> Any:  # noqa: ANN401
    """Return a list, and the lists in it, as tuples; anything else as it is."""
    if not isinstance(value, list):
        return value
    items = cast("list[Any]", value)
    return tuple(as_tuple(item) for item in items)


# What a column holds in a manifest that is older than it.
LATER = {
    f.name: None if f.default is MISSING else f.default
    for f in fields(Case)
    if f.metadata["nullable"] or f.default is not MISSING
}
SCHEMA = pa.schema([pa.field(f.name, **f.metadata) for f in fields(Case)])
PATHS = ("image", "label", "completed")  # of files, relative to the manifest
COMPLETION = ("completed", "completed_sha256", "completed_merged", "completed_by", "origin")
# With one entry for each class id, null for a class that is not judged.
BY_CLASS = (
    *("suspicion", "class_hu_mean", "class_hu_std", "border_gradient", "border_offset_mm"),
    *("place_in_body", "end_share", "cut_by_scan", "robust_z"),
)
