"""The hash that names what a file or a folder holds."""

import hashlib
from pathlib import Path

CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Hash a file, or a folder's files in the order of their names."""
    digest = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def files_of(path: Path) -> list[Path]:
    """The file itself, or a folder's files in the order of their names."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
