"""Packages: one zip file with the networks of a run, to be given away and predicted with.

A package is read without trust: only its own members are looked at, none is compressed, so that
each is as large as it says, and nothing is written but to a temporary folder, under our own names.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifests.ground.atomic import whole_file
from manifests.ground.errors import CheckpointError
from train.checkpoints.checkpoint import SUFFIX, Which, checkpoint_path, load_checkpoint
from train.checkpoints.fold_folders import fold_folders

ZIP = ".zip"
MARK = "marginalia-package-1.txt"  # a member that tells what the file is
MOST_NETWORKS = 100
MOST_BYTES = 1 << 34  # of a checkpoint; the largest of today have 2^28
DATE = (1980, 1, 1, 0, 0, 0)  # the same run gives the same file


def write_package(
    run: Path, path: Path, *, which: Which = "best", texts: Sequence[Path] = ()
) -> None:
    """Write the checkpoints of a run, or of all folds of a cross-validation, with texts.

    Raises:
        CheckpointError: A checkpoint is missing or damaged, or the package is not called `*.zip`.
    """
    if path.suffix.lower() != ZIP:
        msg = f"a package is called *{ZIP}; got {path}"
        raise CheckpointError(msg)
    files = [checkpoint_path(each, which) for each in fold_folders(run) or [run]]
    for file in files:
        load_checkpoint(file)  # whole, by its digest
    members = {_member(n): file for n, file in enumerate(files)} | {t.name: t for t in texts}
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as package:
        package.writestr(zipfile.ZipInfo(MARK, DATE), "networks of `marginalia train`\n")
        for name, file in members.items():
            info = zipfile.ZipInfo(name, DATE)
            with file.open("rb") as source, package.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def unpacked(path: Path) -> Generator[list[Path]]:
    """Yield the checkpoints of a package, as files that are gone after the block.

    Raises:
        CheckpointError: It is no package, or a member is compressed, too large or cut off.
    """
    with tempfile.TemporaryDirectory(prefix="marginalia-") as folder:
        try:
            with zipfile.ZipFile(path) as package:
                found = _members(package, path)
                files = [Path(folder) / _member(n) for n in range(len(found))]
                for info, file in zip(found, files, strict=True):
                    with package.open(info) as source, file.open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            msg = (
                f"{path} is not a readable package: expected a zip file of `marginalia pack`: "
                f"{error}; pack the run again"
            )
            raise CheckpointError(msg) from error
        yield files


def _members(package: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the checkpoints in a package, each of them as large as it says."""
    by_name = {info.filename: info for info in package.infolist()}
    names = [_member(n) for n in range(MOST_NETWORKS)]
    found = [by_name[name] for name in names if name in by_name]
    if MARK not in by_name or not found or len(by_name) != len(package.infolist()):
        msg = (
            f"{path} is no package of networks: expected {MARK} and {names[0]} in it, each once; "
            f"name a file that `marginalia pack` wrote"
        )
        raise CheckpointError(msg)
    for info in found:
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not stored or info.file_size > MOST_BYTES:
            msg = (
                f"{path}: {info.filename} has {info.compress_size:,} bytes for "
                f"{info.file_size:,}: expected it uncompressed, and {MOST_BYTES:,} bytes at most; "
                f"pack the run again"
            )
            raise CheckpointError(msg)
    return found


def _member(number: int) -> str:
    return f"network_{number}{SUFFIX}"
