"""The record beside a harmonised case: that it is whole, and what it was made from."""

import hashlib
import json
from pathlib import Path
from typing import Any

from curate.discover import SourceCase
from curate.harmonise import Target
from curate.recipe import Recipe
from manifests.atomic import write_text
from manifests.case import Case

NAME = "case.json"
# Changes when the same input and settings give other voxels or another row.
METHOD_VERSION = 2


def settings_key(target: Target) -> str:
    """Names the settings that every case in a manifest has in common."""
    return _hash(
        {
            "method": METHOD_VERSION,
            "label_space": target.label_space.model_dump(mode="json"),
            "spacing_mm": target.spacing_mm,
        }
    )


def source_key(case: SourceCase, recipe: Recipe) -> str:
    """Names what one case is made from: its files as they lie there, and its recipe."""
    files = {name: _state(path) for name, path in (("image", case.image), ("label", case.label))}
    told = recipe.model_dump(mode="json", exclude={"sources", "layout", "remarks", "title"})
    return _hash({"files": files, "recipe": told})


def write_record(folder: Path, row: Case, settings: str, source: str) -> None:
    """Mark a case as done; written last, so that a case with a record is whole."""
    sizes = {name: (folder / name).stat().st_size for name in ("image.nii", "label.nii")}
    record = {"settings": settings, "source": source, "bytes": sizes, "row": row.to_row()}
    write_text(folder / NAME, json.dumps(record, indent=1))


def forget(folder: Path) -> None:
    """Mark a case as not done, before its files are written anew."""
    (folder / NAME).unlink(missing_ok=True)


def read_record(folder: Path, settings: str, source: str | None = None) -> Case | None:
    """The row of a case that was made with these settings from this source, and is whole.

    Args:
        folder: The case's folder.
        settings: What `settings_key` says.
        source: What `source_key` says; None takes any.
    """
    try:
        record: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
        whole = all((folder / n).stat().st_size == size for n, size in record["bytes"].items())
        same = record["settings"] == settings and source in (None, record["source"])
        return Case.from_row(record["row"]) if whole and same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged or not there: the case is made again


def _state(path: Path) -> list[Any]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        [f.relative_to(path).as_posix(), f.stat().st_size, f.stat().st_mtime_ns]
        for f in files
        if f.is_file()
    ]


def _hash(value: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
