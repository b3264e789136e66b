"""Files that are either whole or not there."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends well.

    The temporary name keeps the suffixes of `path`, since writers choose a format by them. If the
    block raises, what was at `path` stays untouched and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.partial.{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Remove what killed writers left in a folder, which must be the caller's alone."""
    for half in folder.glob(".*.partial.*"):
        half.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole file."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
