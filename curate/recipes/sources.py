"""Sources: where the files of a dataset can be had, and what they are to be."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from manifests.ground.errors import RecipeError
from manifests.ground.toml_file import StrictModel

FOLDER = Path(__file__).parent
CHECKSUM_COLUMNS = ["path", "bytes", "md5"]

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex40 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HttpSource(StrictModel):
    """One file behind a plain URL; at least one of its checksums is known."""

    kind: Literal["http"]
    file: str
    url: Annotated[str, Field(pattern=r"^https://")]
    md5: Hex32 | None = None
    sha256: Hex64 | None = None
    bytes: int | None = None
    about_bytes: int | None = None

    @model_validator(mode="after")
    def _can_be_checked(self) -> Self:
        if self.md5 or self.sha256:
            return self
        msg = "expected md5 or sha256, or both: nothing else shows that a file is damaged"
        raise ValueError(msg)


class SynapseSource(StrictModel):
    """One file in a Synapse project whose terms the user has to accept."""

    kind: Literal["synapse"]
    file: str
    synapse_id: str
    project: str
    md5: Hex32
    about_bytes: int | None = None


class HuggingFaceSource(StrictModel):
    """One file per case in a pinned revision of a Hugging Face data set.

    Attributes:
        repository: As in `owner/name`.
        files: Where a case's file lies in the repository; `{case}` stands for the case.
        case: A case's name, made from its number.
        first: The first case's number.
        last: The last case's number; the repository may hold more.
        gaps: First and last of the numbers in between that are no case.
        about_bytes: All of the files together.
    """

    kind: Literal["huggingface"]
    repository: str
    revision: Hex40
    files: str
    case: str
    first: int
    last: int
    gaps: tuple[tuple[int, int], ...] = ()
    about_bytes: int | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the files lie in the repository."""
        none = {n for first, last in self.gaps for n in range(first, last + 1)}
        numbers = (n for n in range(self.first, self.last + 1) if n not in none)
        return tuple(self.files.replace("{case}", self.case.format(n)) for n in numbers)


class GitSource(StrictModel):
    """Files in a pinned commit of a git repository whose host serves single files.

    Attributes:
        url: Where the host serves a file; `{revision}` and `{path}` stand for what they say.
        files: Where a case's file lies in the repository; `{case}` stands for the case.
        checksums: Table of the files to be had, with the columns path, bytes and md5; it lies
            beside the recipe.
    """

    kind: Literal["git"]
    repository: str
    revision: Hex40
    url: Annotated[str, Field(pattern=r"^https://.*\{revision\}.*\{path\}")]
    files: str
    checksums: Path

    @field_validator("checksums")
    @classmethod
    def _find_beside_the_recipe(cls, path: Path, info: ValidationInfo) -> Path:
        path = ((info.context or {}).get("folder", FOLDER) / path).resolve()
        if not path.is_file():
            msg = f"there is no file {path}"
            raise ValueError(msg)
        return path


class HandSource(StrictModel):
    """A file or a folder that a person has to fetch and, if it is packed, to unpack.

    Attributes:
        file: Its name, or a pattern of the names of several files.
        url: The page where it can be had.
        md5: As its publisher says; compared by nobody.
    """

    kind: Literal["by_hand"]
    file: str
    url: Annotated[str, Field(pattern=r"^https://")]
    md5: Hex32 | None = None


DownloadedSource = HttpSource | SynapseSource | HuggingFaceSource | GitSource
Source = Annotated[DownloadedSource | HandSource, Field(discriminator="kind")]


@dataclass(frozen=True)
class Checksum:
    """What the file at a path of the repository is to be."""

    path: str
    size_bytes: int
    md5: str

    def fits(self, file: Path) -> bool:
        """Return whether a file has this size and this checksum."""
        if file.stat().st_size != self.size_bytes:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == self.md5


def read_checksums(source: GitSource) -> list[Checksum]:
    """Return the files of a source, in the table's order.

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
            f"{', '.join(CHECKSUM_COLUMNS)}: {type(error).__name__}: {error}"
        )
        raise RecipeError(msg) from error
    for row in found:
        path = PurePosixPath(row.path)
        if path.is_absolute() or ".." in path.parts:
            msg = f"{source.checksums} names {row.path!r}, which leaves the repository: refused"
            raise RecipeError(msg)
    return found
