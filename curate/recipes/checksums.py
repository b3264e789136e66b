"""Tables of what a repository's files are to be, and the local copies that are something else."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from curate.recipes.sources import GitSource
from manifests.ground.errors import RecipeError

COLUMNS = ["path", "bytes", "md5"]


@dataclass(frozen=True)
class Checksum:
    """What one file is to be.

    Attributes:
        path: In the repository.
        size_bytes: Its size.
        md5: In hexadecimal.
    """

    path: str
    size_bytes: int
    md5: str

    def fits(self, file: Path) -> bool:
        """Whether a file is what it is to be."""
        if file.stat().st_size != self.size_bytes:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == self.md5


def read_checksums(source: GitSource) -> list[Checksum]:
    """The files of a source, in the table's order.

    Raises:
        RecipeError: The table is not well formed, or names a path outside the repository.
    """
    try:
        with source.checksums.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            found = [Checksum(r["path"], int(r["bytes"]), r["md5"]) for r in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"{source.checksums} is not a table of checksums: expected the columns "
            f"{', '.join(COLUMNS)}: {type(error).__name__}: {error}"
        )
        raise RecipeError(msg) from error
    for row in found:
        path = PurePosixPath(row.path)
        if path.is_absolute() or ".." in path.parts:
            msg = f"{source.checksums} names {row.path!r}, which leaves the repository: refused"
            raise RecipeError(msg)
    return found
