"""A folder that one run at a time writes to."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from manifests.ground.errors import MarginaliaError


class InUseError(MarginaliaError):
    """Another run is writing to the folder."""


@contextmanager
def alone(folder: Path, *, command: str) -> Generator[None]:
    """Keep other runs of a command out of a folder; a run that dies, however, releases it.

    A folder that was made for the run, and in which nothing was written, is gone afterwards.

    Raises:
        InUseError: Another run is at work there.
        MarginaliaError: Nothing can be written there.
    """
    made, held = not folder.exists(), folder / f".{command}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # held by this process and by none that it starts
        lock = FileLock(held, timeout=0, is_singleton=True).acquire()
    except Timeout as error:
        msg = (
            f"another `marginalia {command}` is at work in {folder}: wait until it has ended, or "
            f"choose another folder with --out"
        )
        raise InUseError(msg) from error
    except OSError as error:
        msg = f"nothing can be written to {folder}: {error}; choose another folder with --out"
        raise MarginaliaError(msg) from error
    with lock:
        try:
            yield
        finally:
            if made and folder.is_dir() and list(folder.iterdir()) == [held]:
                held.unlink()
                folder.rmdir()
