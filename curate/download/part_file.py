"""A file that is being downloaded: its part on disk, and a small file that says what it is of."""

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Self, final

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.download.remote_file import RemoteFile
from manifests.ground.atomic import write_text

CHUNK_BYTES = 1 << 20


class ResumeInfo(BaseModel):
    """Which file a part belongs to, kept as `NAME.part.json`.

    Attributes:
        etag: The server's name for this state of the file, if it has a strong one.
        last_modified: When the file was changed, in the server's own words.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    md5: str | None
    sha256: str | None
    total_bytes: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, file: RemoteFile) -> Self:
        """Describe a file of which no server has said anything yet."""
        return cls(url=file.url, md5=file.md5, sha256=file.sha256, total_bytes=file.size_bytes)

    def is_of(self, file: RemoteFile) -> bool:
        """Return whether a part with this description belongs to the file that is wanted now."""
        return (self.url, self.md5, self.sha256) == (file.url, file.md5, file.sha256)

    @property
    def validator(self) -> str | None:
        """What to send as `If-Range`."""
        return self.etag or self.last_modified


@final
class PartFile:
    """The part of one file, open for writing, with the checksums of what it holds.

    Attributes:
        doubtful: Whether the transfer may be to blame for a wrong checksum: the file came in
            pieces, or nobody said how long it is.
    """

    def __init__(self, file: RemoteFile, info: ResumeInfo, stream: FileIO) -> None:
        """Start with nothing; call `open_part` for one."""
        self.file = file
        self.info = info
        self.offset = 0
        self.doubtful = False
        self._stream = stream
        self._hashes = _hashes(file)

    @property
    def total_bytes(self) -> int | None:
        """Size of the whole file, if it is known."""
        return self.file.size_bytes if self.file.size_bytes is not None else self.info.total_bytes

    @property
    def is_complete(self) -> bool:
        """Whether no byte is missing; what it holds may still be wrong."""
        return self.offset == self.total_bytes

    def restart(self, info: ResumeInfo | None = None) -> None:
        """Drop what it holds, and keep what the server says of the file now, if it says it."""
        info = info or ResumeInfo.of(self.file)
        self._stream.seek(0)
        self._stream.truncate(0)
        self._hashes = _hashes(self.file)
        self.offset, self.doubtful, self.info = 0, False, info
        write_text(_info_path(self.file), info.model_dump_json(indent=2))

    def append(self, data: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            written = self._stream.write(rest)
            self._count(rest[:written])
            rest = rest[written:]

    def end_here(self) -> None:
        """Regard what there is as the whole file, since the server gave no size."""
        self.info = self.info.model_copy(update={"total_bytes": self.offset})
        self.doubtful = True

    def problem(self) -> str | None:
        """Return what is wrong with the whole file, as expected and got; None if nothing is."""
        facts: dict[str, tuple[object, object]] = {"bytes": (self.file.size_bytes, self.offset)}
        for name, value in self._hashes.items():
            facts[name] = (getattr(self.file, name), value.hexdigest())
        wrong = {n: f for n, f in facts.items() if f[0] is not None and f[0] != f[1]}
        words = [f"expected {n} {expected}, got {got}" for n, (expected, got) in wrong.items()]
        return "; ".join(words) or None

    def finish(self) -> None:
        """Move the part to its target."""
        os.fsync(self._stream.fileno())
        self._stream.close()
        self.file.target.parent.mkdir(parents=True, exist_ok=True)
        self.file.part.replace(self.file.target)
        _info_path(self.file).unlink(missing_ok=True)

    def read_kept(self, on_progress: Callable[[int], None]) -> None:
        """Read what an earlier run left, for its size and checksums."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while size := self._stream.readinto(buffer):
            self._count(buffer[:size])
            on_progress(self.offset)
        self.doubtful = self.offset > 0

    def _count(self, data: memoryview) -> None:
        for value in self._hashes.values():
            value.update(data)
        self.offset += len(data)


@contextmanager
def open_part(file: RemoteFile, on_progress: Callable[[int], None]) -> Generator[PartFile]:
    """Open the part of a file, with what an earlier run left if it belongs to the same file.

    `on_progress` is called with the number of bytes of that run that were read again.
    """
    info = _resumable(file)
    file.part.parent.mkdir(parents=True, exist_ok=True)
    with file.part.open("r+b" if info else "w+b", buffering=0) as stream:
        part = PartFile(file, info or ResumeInfo.of(file), stream)
        part.read_kept(on_progress)
        yield part


def part_bytes(file: RemoteFile) -> int:
    """Return the size of what an earlier run left of a file."""
    return file.part.stat().st_size if _resumable(file) else 0


def _resumable(file: RemoteFile) -> ResumeInfo | None:
    """Return the description of the part that is there, if it is a part of this file."""
    try:
        info = ResumeInfo.model_validate_json(_info_path(file).read_bytes())
        size_bytes = file.part.stat().st_size
    except (OSError, ValidationError):
        return None
    fits = file.size_bytes is None or size_bytes <= file.size_bytes
    return info if fits and info.is_of(file) else None


def _info_path(file: RemoteFile) -> Path:
    return file.part.with_name(file.part.name + ".json")


def _hashes(file: RemoteFile) -> "dict[str, hashlib._Hash]":
    return {name: hashlib.new(name) for name in ("md5", "sha256") if getattr(file, name)}
