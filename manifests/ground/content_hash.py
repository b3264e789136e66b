"""The hash that names what a file or a folder holds."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hash a file, or a folder's files in the order of their names."""
    digest = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or a folder's files in the order of their names."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
