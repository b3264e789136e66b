"""Folders of a cross-validation: one run for each fold, in the folder of the whole."""

from pathlib import Path

PREFIX = "fold_"


def fold_folder(run: Path, fold: int) -> Path:
    """Return where the training of a fold lies."""
    return run / f"{PREFIX}{fold}"


def fold_folders(run: Path) -> list[Path]:
    """Return the runs of a cross-validation by their folds; none if it is a single run."""
    found = [p for p in run.glob(f"{PREFIX}*") if p.is_dir() and _number(p).isdecimal()]
    return sorted(found, key=lambda path: int(_number(path)))


def _number(path: Path) -> str:
    return path.name.removeprefix(PREFIX)
