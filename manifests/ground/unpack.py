"""Unpacking archives that somebody else made: only plain files, only below one folder."""

import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from manifests.ground.archive import DAMAGE, MAX_ENTRIES, ArchiveMember, bomb, limit_bytes, opened
from manifests.ground.errors import SourceError

Notify = Callable[[int, int], None]
CHUNK_BYTES = 1 << 20


def unpack(archive: Path, folder: Path, *, notify: Notify = lambda _done, _total: None) -> None:
    """Unpack a tar (plain or compressed) or a zip; `folder` appears once all of it is there.

    Folders and junk (AppleDouble files, `__MACOSX`) are skipped. `folder` must not exist yet.
    `notify` is called with the bytes written so far and the bytes in all.

    Raises:
        SourceError: The archive is damaged, holds a path outside the folder, a link or a device,
            two entries of one name, more than an archive of its size can hold, or needs more space
            than there is.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with opened(archive) as members:
            _write_all(archive, _checked(archive, members), partial, notify)
    except DAMAGE as error:
        msg = f"{archive} cannot be unpacked: {error}; get it again, or check the disk"
        raise SourceError(msg) from error
    else:
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_all(archive: Path, members: list[ArchiveMember], folder: Path, notify: Notify) -> None:
    total = sum(m.size_bytes for m in members)
    free = shutil.disk_usage(folder).free
    if total > free:
        msg = f"{archive} unpacks to {total:,} bytes; {folder} has {free:,} free: make room"
        raise SourceError(msg)
    done = 0
    for member in members:
        done += write_member(member, folder / member.name)
        notify(done, total)


def _checked(archive: Path, members: Iterable[ArchiveMember]) -> list[ArchiveMember]:
    """List the members; stop at the first that is unsafe."""
    limit = limit_bytes(archive)
    taken: dict[str, str] = {}
    checked: list[ArchiveMember] = []
    total = 0
    for member in members:
        _refuse_unsafe(archive, member)
        _refuse_same_name(archive, member, taken)
        checked.append(member)
        total += member.size_bytes
        if total > limit or len(checked) > MAX_ENTRIES:
            raise SourceError(bomb(archive, f"{total:,} bytes in {len(checked):,} entries"))
    return checked


def _refuse_same_name(archive: Path, member: ArchiveMember, taken: dict[str, str]) -> None:
    """Refuse names that are one file, at least where case and accents' forms do not count."""
    plain = unicodedata.normalize("NFC", str(PurePosixPath(member.name))).casefold()
    if plain in taken:
        msg = (
            f"{archive}: the entries {taken[plain]!r} and {member.name!r} are one file: refused, "
            f"nothing was unpacked"
        )
        raise SourceError(msg)
    taken[plain] = member.name


def _refuse_unsafe(archive: Path, member: ArchiveMember) -> None:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
    if outside or member.open is None:
        kind = "leaves the folder" if outside else "is a link, a device or sparse, not a plain file"
        msg = f"{archive}: the entry {member.name!r} {kind}: refused, nothing was unpacked"
        raise SourceError(msg)


def write_member(member: ArchiveMember, path: Path) -> int:
    """Write one entry to a new file, and return its size in bytes.

    Raises:
        SourceError: It is longer than it says.
    """
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
