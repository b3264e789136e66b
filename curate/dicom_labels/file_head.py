"""The head of a DICOM file: what it holds and how it is packed, before a library reads it."""

import zlib
from pathlib import Path

from manifests.ground.findings import Finding, SetAsideError

MARK, MARK_STOP = b"DICM", 132
# (0002,0002), (0008,0016) and group 0008, little endian
MEDIA_STORAGE_SOP_CLASS, SOP_CLASS = b"\x02\x00\x02\x00", b"\x08\x00\x16\x00"
TRANSFER_SYNTAX, DEFLATED = b"\x02\x00\x10\x00", "1.2.840.10008.1.2.1.99"
META_STOP = MARK_STOP + 12  # of the element that says how long the meta information is
BLOCK, MOST_INFLATED = 2**20, 2**32
IDENTIFYING_GROUP = b"\x08\x00"
SOP_CLASS_STOP = 1024  # bytes within which the file's meta information names the SOP class


def sop_class_of(path: Path) -> str:
    """Return the SOP class UID of a DICOM file; empty if it is none.

    Older planning systems write files without preamble and meta information.
    """
    try:
        with path.open("rb") as file:
            head = file.read(SOP_CLASS_STOP)
    except OSError:
        return ""
    if head[MARK_STOP - len(MARK) : MARK_STOP] == MARK:
        return _uid_behind(MEDIA_STORAGE_SOP_CLASS, head[MARK_STOP:])
    return _uid_behind(SOP_CLASS, head) if head.startswith(IDENTIFYING_GROUP) else ""


def _uid_behind(tag: bytes, head: bytes) -> str:
    """Return the value of an element: tag, VR if it is explicit, length, value."""
    _, _, rest = head.partition(tag)
    start, size = (2, 2) if rest.startswith(b"UI") else (0, 4)
    length = int.from_bytes(rest[start : start + size], "little")
    return rest[start + size :][:length].rstrip(b"\0 ").decode("ascii", "replace")


def is_deflated(path: Path) -> bool:
    """Return whether a DICOM file is compressed as a whole, as dcmqi does on request."""
    with path.open("rb") as file:
        head = file.read(SOP_CLASS_STOP)
    return _uid_behind(TRANSFER_SYNTAX, head[MARK_STOP:]) == DEFLATED


def check_inflated(path: Path) -> None:
    """Refuse a file that would fill the memory: pydicom inflates all of it at once."""
    inflater, size = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        head = file.read(META_STOP)
        file.seek(META_STOP + int.from_bytes(head[-4:], "little"))  # (0002,0000): what follows it
        try:
            while block := inflater.unconsumed_tail or file.read(BLOCK):
                size += len(inflater.decompress(block, BLOCK))
                if size > MOST_INFLATED:
                    reason = (
                        f"{path}: expected at most {MOST_INFLATED:,} bytes when inflated, got more"
                    )
                    raise SetAsideError(Finding("header_implausible", reason))
        except zlib.error as error:
            raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> SetAsideError:
    """Return the error that a DICOM file cannot be read, with what its reader says of it."""
    reason = f"{path}: cannot be read as DICOM: {type(error).__name__}: {error}"
    return SetAsideError(Finding("unreadable", reason))
