"""Scans in an archive as a dataset is published: taken out a few at a time, and away again."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from manifests.ground.archive import DAMAGE, ArchiveMember, bomb, limit_bytes, opened
from manifests.ground.errors import SourceError
from manifests.ground.unpack import write_member
from train.prediction.scan import SUFFIXES, is_image

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DICOM_START, DICOM_MARK = 128, b"DICM"

Scan = tuple[str, Path]  # its name and where it lies


def is_archive(path: Path) -> bool:
    """Return whether a file is called as an archive is."""
    return path.name.lower().endswith(ARCHIVES) and path.is_file()


@contextmanager
def scans_of_archive(
    archive: Path, beside: Path, known: Collection[str], *, at_a_time: int
) -> Iterator[Iterator[list[Scan]]]:
    """Yield the scans of an archive, so many at a time, each lot until the next is asked for.

    They are called as in an unpacked folder. Nothing is executed, and no entry says where it is
    written. An image of two files, such as `.mhd` with `.raw`, cannot be read.

    Args:
        archive: A zip, or a tar that may be compressed.
        beside: The scans lie in a new folder beside this file.
        known: Names of scans that are left out.
        at_a_time: Scans.

    Raises:
        SourceError: The archive is damaged, or larger than it can honestly be.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as folder:
        yield _batches(archive, Path(folder), known, at_a_time)


def _batches(
    archive: Path, folder: Path, known: Collection[str], at_a_time: int
) -> Iterator[list[Scan]]:
    batch: list[Scan] = []
    try:
        with opened(archive) as members:
            for scan in _scans(archive, members, folder, known):
                if len(batch) == at_a_time:
                    yield batch
                    for _, place in batch:
                        _remove(place)
                    batch = []
                batch.append(scan)
    except DAMAGE as error:
        msg = f"{archive} cannot be read: {error}; get it again, or check the disk"
        raise SourceError(msg) from error
    yield batch


def _scans(
    archive: Path, members: Iterator[ArchiveMember], folder: Path, known: Collection[str]
) -> Iterator[Scan]:
    """Yield each scan once it is written as a whole, a series after the last of its folder."""
    left = limit_bytes(archive)
    series: dict[str, Path] = {}
    last: dict[str, int] = {}
    for number, member in enumerate(members):
        suffix = _suffix(member.name)
        name = _name(archive, member.name, suffix)
        if member.open and name not in known and (suffix or _is_dicom(member)):
            place = folder / f"{number}{suffix}"
            if not suffix:
                last = last or _last_of_folders(archive)
                place = series.setdefault(name, place) / f"{number}.dcm"
            left -= write_member(member, place)
            if left < 0:
                raise SourceError(bomb(archive, f"{limit_bytes(archive) - left:,} bytes"))
            if suffix:
                yield name, place
        if not suffix and name in series and number == last[name]:
            yield name, series.pop(name)


def _last_of_folders(archive: Path) -> dict[str, int]:
    """Return the number of the last entry of each folder that may be a DICOM slice.

    The slices of a series need not stand together in an archive.
    """
    with opened(archive) as members:
        slices = ((n, m.name) for n, m in enumerate(members) if not _suffix(m.name))
        return {_name(archive, name, ""): number for number, name in slices}


def _suffix(name: str) -> str:
    """Return the suffix by which an entry is opened as an image; empty if it is none."""
    if not is_image(Path(name)):
        return ""
    return next(suffix for suffix in SUFFIXES if name.lower().endswith(suffix))


def _name(archive: Path, member: str, suffix: str) -> str:
    """Return what a scan is called as in a folder: by its place, without its suffix."""
    path = PurePosixPath(member)
    if suffix:
        return path.as_posix()[: -len(suffix)]
    return archive.name if path.parent == PurePosixPath() else path.parent.as_posix()


def _is_dicom(member: ArchiveMember) -> bool:
    stream = member.open() if member.open else None
    if stream is None:
        return False
    with stream:
        return stream.read(DICOM_START + len(DICOM_MARK))[DICOM_START:] == DICOM_MARK


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
