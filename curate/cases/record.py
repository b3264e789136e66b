"""The record beside a harmonised case: that it is whole, and what it was made from."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from curate.cases.overrides import Override
from curate.cases.target import IMAGE, LABEL, NATIVE, Target
from curate.datasets.discover import SourceCase
from curate.recipes.layouts import DicomLayout
from curate.recipes.schema import Recipe
from manifests.ground.atomic import write_text
from manifests.ground.content_hash import files_of, sha256_of
from manifests.table.case import Case

NAME = "case.json"
VOLUMES = (IMAGE, LABEL)
UNANNOTATED = "unannotated"
# Changes when the same input and settings give other voxels or another row.
METHOD_VERSION = 3
# What a recipe tells people, and where its files are: none of it changes a voxel.
DESCRIPTIVE = {
    *("title", "licence", "commercial_use", "share_alike", "citation", "homepage", "remarks"),
    *("labelled_cases", "sources", "layout", "table", "evidence", "unverified"),
}
# Of a layout's keys, those that change voxels, and what they say if nothing is said.
USUAL = {"missing_mask": "error", "label_order": "header", "missing_value": "absent"}


@dataclass(frozen=True)
class Provenance:
    """What one case is made from and into.

    Attributes:
        settings: The `settings_key`.
        recipe: Hash of what the recipe says of voxels.
        override: Hash of what a person decided on the case; empty if nothing.
        files: Name, bytes and time of change of each source file, by `image` and `label`; and the
            values that nobody annotated in the case, by `unannotated`.
    """

    settings: str
    recipe: str
    override: str
    files: dict[str, list[Any]]

    @classmethod
    def of(
        cls,
        case: SourceCase | None,
        recipe: Recipe,
        target: Target,
        override: Override | None = None,
    ) -> "Provenance":
        """Describe a case by the present state of its source files, if it has any."""
        facts = _of_voxels(recipe)
        files = {"image": _state(case.image), "label": _of_label(case)} if case else {}
        if case and case.unannotated:
            files[UNANNOTATED] = sorted(case.unannotated)
        decided = _hash(told) if override and (told := override.of_voxels) else ""
        return cls(settings_key(target), _hash(facts), decided, files)

    @classmethod
    def of_fused(
        cls, cases: Iterable[Case], target: Target, believed: Iterable[Iterable[int]] = ()
    ) -> "Provenance":
        """Describe a case that is made from the files of other cases.

        Args:
            cases: In their order.
            target: What they are made into.
            believed: Classes on which each case but the first is believed before the others.
        """
        told = [[c.case_id, c.image_sha256, c.label_sha256, c.blocks, c.licence] for c in cases]
        rule = [sorted(classes) for classes in believed]
        return cls(settings_key(target), _hash([*told, rule] if any(rule) else told), "", {})


def settings_key(target: Target) -> str:
    """Hash the settings that every case in a manifest has in common."""
    spacing = target.spacing_mm
    return _hash(
        {
            "method": METHOD_VERSION,
            "label_space": target.label_space.model_dump(mode="json"),
            "spacing_mm": spacing if spacing == NATIVE else [float(mm) for mm in spacing],
            "interpolation": target.interpolation,
        }
    )


def write_record(
    folder: Path, row: Case, provenance: Provenance, *, volumes: Path | None = None
) -> None:
    """Record in `folder` that a case is whole, and what it was made from.

    Its volumes lie beside the record, or else in the folder `volumes`.
    """
    sizes = {name: ((volumes or folder) / name).stat().st_size for name in VOLUMES}
    body = {**vars(provenance), "bytes": sizes, "row": row.to_row()}
    write_text(folder / NAME, json.dumps({**body, "check": _hash(body)}, indent=1))


def read_record(folder: Path) -> tuple[Case, Provenance] | None:
    """Read the record of a case whose volumes have the sizes they had; None if it is damaged.

    A copy of a case's folder by another name is no case.
    """
    try:
        record: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if record.pop("check") != _hash(record):
            return None
        provenance = Provenance(**{f.name: record[f.name] for f in fields(Provenance)})
        whole = all((folder / n).stat().st_size == size for n, size in record["bytes"].items())
        row = Case.from_row(record["row"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # the case is made again
    return (row, provenance) if whole and folder.parts[-2:] == Path(row.case_id).parts else None


def unchanged_case(folder: Path, provenance: Provenance) -> Case | None:
    """Return the row of a case that is whole and was made from this, by sizes and times.

    A row whose labels were never judged, by an older marginalia, is not up to date.
    """
    found = read_record(folder)
    if not found or found[1] != provenance or found[0].suspicion is None:
        return None
    return found[0]


def earlier_case(folder: Path, provenance: Provenance, *, verify: bool = False) -> Case | None:
    """Return the row of a case that is whole and was made in this way, from whatever files."""
    found = _made_alike(folder, provenance)
    return found[0] if found and (not verify or is_undamaged(folder, found[0])) else None


def same_content(
    folder: Path, case: SourceCase, provenance: Provenance, *, verify: bool
) -> Case | None:
    """Return the same by the content of the files, which may have been copied or unpacked again.

    With `verify`, the content of the harmonised volumes counts as well.
    """
    found = _made_alike(folder, provenance)
    if not found:
        return None
    row, recorded = found
    if recorded.files.get(UNANNOTATED) != provenance.files.get(UNANNOTATED):
        return None
    if recorded.files != provenance.files and not (
        _holds(case.image, row.source_image_sha256)
        and _holds(case.label, row.source_label_sha256, case.label_files)
    ):
        return None
    return row if not verify or is_undamaged(folder, row) else None


def is_undamaged(folder: Path, row: Case) -> bool:
    """Return whether a case's volumes hold what was written."""
    hashes = (row.image_sha256, row.label_sha256)
    return all(_holds(folder / name, h) for name, h in zip(VOLUMES, hashes, strict=True))


def move_case(made: Path, folder: Path) -> None:
    """Move what was made of a case into its folder, the record last.

    Whenever the process is killed, a record stands beside the volumes that it describes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any((made / name).exists() for name in VOLUMES):
        (folder / NAME).unlink(missing_ok=True)
    for name in (*VOLUMES, NAME):
        if (made / name).exists():
            (made / name).replace(folder / name)


def delete_case(folder: Path) -> None:
    """Remove a case, and its folder unless somebody else's files lie there."""
    for name in (NAME, *VOLUMES):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def is_ours(folder: Path) -> bool:
    """Return whether a folder holds a case, or what is left of one."""
    return any((folder / name).is_file() for name in (NAME, *VOLUMES))


def _of_voxels(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says of voxels; what it does not use changes no earlier record."""
    facts = recipe.model_dump(mode="json", exclude=DESCRIPTIVE)
    if not recipe.ignored_values:
        del facts["ignored_values"]
    layout = recipe.layout
    if isinstance(layout, DicomLayout):
        facts |= {"modality": layout.modality, "threshold": layout.threshold}
    elif not recipe.names:
        del facts["names"]
    told = {key: getattr(layout, key, usual) for key, usual in USUAL.items()}
    return {**facts, **{key: said for key, said in told.items() if said != USUAL[key]}}


def _made_alike(folder: Path, provenance: Provenance) -> tuple[Case, Provenance] | None:
    found = read_record(folder)
    return found if found and replace(found[1], files=provenance.files) == provenance else None


def _of_label(case: SourceCase) -> list[Any]:
    return _state(case.label, case.label_files)


def _state(path: Path, own: list[Path] | None = None) -> list[Any]:
    files = [p for p in own or files_of(path) if p.exists()]
    stats = [(p.relative_to(path.parent).as_posix(), p.stat()) for p in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _holds(path: Path, sha256: str, own: list[Path] | None = None) -> bool:
    try:
        return sha256_of(path, own) == sha256
    except OSError:
        return False


def _hash(value: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
