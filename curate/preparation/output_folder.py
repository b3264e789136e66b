"""The folder that `prepare` writes to: one run at a time, and nothing left of those that died."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from curate.cases.target import FUSED
from curate.preparation.dataset_record import NAME as DATASET_NAME
from curate.preparation.rejected import NAME as REJECTED_NAME
from manifests.ground.alone import alone
from manifests.ground.errors import MarginaliaError
from manifests.table.manifest import FILE_NAME

STAGING = ".partial"  # where cases are while they are made


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Keep other runs out of a folder; a run that dies, however, releases it.

    Raises:
        InUseError: Another run is at work there.
        MarginaliaError: Nothing can be written there, or its cases would lie elsewhere.
    """
    _refuse_links(folder)
    with alone(folder, command="prepare"):
        yield


def _refuse_links(folder: Path) -> None:
    inside = folder.resolve()
    places = [p for name in ("cases", FUSED) for p in (folder / name, *folder.glob(f"{name}/*"))]
    for link in places:
        if not (place := link.resolve()).is_relative_to(inside):
            msg = (
                f"{link} leads outside {folder}, to {place}, and a manifest names no file outside "
                f"its own folder: move the files back, and choose a folder on that disk with "
                f"--out, or make {folder} as a whole the link"
            )
            raise MarginaliaError(msg)


@contextmanager
def staging_folder(folder: Path) -> Generator[Path]:
    """Provide a place of this run's own; what dead runs were writing is removed first.

    Workers whose parent was killed may live a moment longer: they write to the staging folder
    of their own run, never to this one.
    """
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    for half in (folder / "unpacked").glob("*.partial"):
        shutil.rmtree(half, ignore_errors=True)
    for name in (FILE_NAME, REJECTED_NAME, f"cases/*/{DATASET_NAME}", f"{FUSED}/*/*/*"):
        path = Path(name)
        for half in folder.glob(str(path.with_name(f".*.partial.{path.name}"))):
            half.unlink(missing_ok=True)
    try:
        yield folder / STAGING / uuid4().hex
    finally:
        shutil.rmtree(folder / STAGING, ignore_errors=True)
