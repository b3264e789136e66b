"""Unpacking archives that somebody else made: only plain files, only below one folder."""

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from manifests.errors import SourceError

Notify = Callable[[int, int], None]
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Member:
    """One entry of an archive: its name, its size, and how to open it if it is a plain file."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes] | None] | None


def unpack(archive: Path, folder: Path, *, notify: Notify = lambda _done, _total: None) -> None:
    """Unpack a tar (plain or compressed) or a zip; `folder` appears once all of it is there.

    Folders and junk (AppleDouble files, `__MACOSX`) are passed over.

    Args:
        archive: The file to unpack.
        folder: Must not exist yet.
        notify: Called with bytes written and bytes in all.

    Raises:
        SourceError: The archive is damaged, holds a path outside the folder, a link or a device,
            or needs more space than there is.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with _opened(archive) as members:
            _write_all(archive, list(members), partial, notify)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        msg = f"{archive} cannot be unpacked: {error}; get it again, or check the disk"
        raise SourceError(msg) from error
    except SourceError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)


def _write_all(archive: Path, members: list[Member], folder: Path, notify: Notify) -> None:
    for member in members:
        _refuse_unsafe(archive, member)
    total = sum(m.size_bytes for m in members)
    free = shutil.disk_usage(folder).free
    if total > free:
        msg = f"{archive} unpacks to {total:,} bytes; {folder} has {free:,} free: make room"
        raise SourceError(msg)
    done = 0
    for member in members:
        done += _write(member, folder / member.name)
        notify(done, total)


def _refuse_unsafe(archive: Path, member: Member) -> None:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
    if outside or member.open is None:
        kind = "leaves the folder" if outside else "is a link or a device, not a plain file"
        msg = f"{archive}: the entry {member.name!r} {kind}: refused, nothing was unpacked"
        raise SourceError(msg)


def _write(member: Member, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = member.open() if member.open else None
    if stream is None:
        return 0
    written = 0
    with stream, path.open("xb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            written += len(chunk)
            if written > member.size_bytes:
                msg = f"the entry {member.name!r} is longer than it says"
                raise SourceError(msg)
            file.write(chunk)
    return written


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_members(file)
    else:
        with tarfile.open(archive) as file:
            yield _tar_members(file)


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if info.is_dir() or _is_junk(info.filename):
            continue
        mode = info.external_attr >> 16
        plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
        opener = (lambda i=info: file.open(i)) if plain else None
        yield Member(info.filename, info.file_size, opener)


def _tar_members(file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        if info.isdir() or _is_junk(info.name):
            continue
        opener = (lambda i=info: file.extractfile(i)) if info.isreg() else None
        yield Member(info.name, info.size, opener)


def _is_junk(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))
