"""What an archive holds, tar or zip: names, sizes, and how to read each entry."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from manifests.ground.errors import SourceError

# CT archives reach about 4, label maps that are stored plain a few hundred.
MAX_RATIO = 500
SMALL_BYTES = 1 << 30  # an archive that unpacks to less is no bomb, whatever its ratio
MAX_BYTES = 1 << 42
MAX_ENTRIES = 2_000_000
MAX_HEADER_BYTES = 1 << 24  # of one read; the headers of a tar may name any size

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
)


@dataclass(frozen=True)
class ArchiveMember:
    """One entry of an archive: its name, its size, and how to open it if it is a plain file."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes] | None] | None


def limit_bytes(archive: Path) -> int:
    """Return the most bytes that an archive of this size may unpack to."""
    return min(MAX_BYTES, max(SMALL_BYTES, archive.stat().st_size * MAX_RATIO))


def bomb(archive: Path, found: str) -> str:
    """Return the message that refuses an archive which unpacks to more."""
    return (
        f"{archive} has {archive.stat().st_size:,} bytes and unpacks to {found} or more; expected "
        f"at most {limit_bytes(archive):,} bytes ({MAX_RATIO} times its size) and "
        f"{MAX_ENTRIES:,} entries: refused as a bomb, nothing was unpacked"
    )


@contextmanager
def opened(archive: Path) -> Generator[Iterator[ArchiveMember]]:
    """Yield the entries of an archive except folders and junk (AppleDouble, `__MACOSX`)."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_members(file)
        return
    with _plain(archive) as stream:
        metered: Any = _Metered(stream, archive)
        with tarfile.open(fileobj=metered, mode="r:") as file:
            yield _tar_members(file)


@contextmanager
def _plain(archive: Path) -> Generator[IO[bytes]]:
    """Yield the stream of a tar that may be compressed."""
    with archive.open("rb") as file:
        start = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    opener = next((o for magic, o in openers.items() if start.startswith(magic)), Path.open)
    with opener(archive, "rb") as stream:
        yield stream  # type: ignore[misc]


class _Metered:
    """A tar's stream that refuses to be read beyond what its archive can honestly hold.

    Passing over an entry reads it as well, so a bomb would cost hours before anything is written,
    and an entry's header may ask for any amount of memory.
    """

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream, self._archive = stream, archive
        self._limit = limit_bytes(archive) + SMALL_BYTES  # a tar's own blocks

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            msg = f"{self._archive}: expected headers of {MAX_HEADER_BYTES:,} bytes; got {size:,}"
            raise SourceError(msg)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        if position > self._limit:
            raise SourceError(bomb(self._archive, f"{position:,} bytes"))
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


def _zip_members(file: zipfile.ZipFile) -> Iterator[ArchiveMember]:
    for info in file.infolist():
        if info.is_dir() or _is_junk(info.filename):
            continue
        mode = info.external_attr >> 16
        plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
        opener = (lambda i=info: file.open(i)) if plain else None
        yield ArchiveMember(info.filename, info.file_size, opener)


def _tar_members(file: tarfile.TarFile) -> Iterator[ArchiveMember]:
    for info in file:
        if info.isdir() or _is_junk(info.name):
            continue
        plain = info.isreg() and not info.issparse()
        opener = (lambda i=info: file.extractfile(i)) if plain else None
        yield ArchiveMember(info.name, info.size, opener)


def _is_junk(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))
