"""The hash that names what a file or a folder holds."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hash a file, or a folder's files in the order of their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
