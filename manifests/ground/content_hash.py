"""The hash that names what a file or a folder holds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path


def sha256_of(path: Path, files: Sequence[Path] | None = None) -> str:
    """Hash a file's content, or the names and contents of a folder's files, or of some of them.

    A folder's hash is that of what `sha256sum` prints of its files, in the order of their names:
    two masks that exchange their names change it.
    """
    if not path.is_dir():
        return _of_file(path)
    counted = files_of(path) if files is None else files
    lines = (f"{_of_file(file)}  {file.relative_to(path).as_posix()}\n" for file in counted)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or a folder's files in the order of their names."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
