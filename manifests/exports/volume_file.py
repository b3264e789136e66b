"""A volume's file in an export: a hard link where it can be one, else written anew."""
# pyright: reportUnknownMemberType=false

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from manifests.ground.atomic import whole_file
from manifests.ground.content_hash import sha256_of
from manifests.ground.errors import ExportError

GZIP = ".gz"
HEADER_BYTES = 348
NO_VALUE = -1
Values = NDArray[np.int16]  # what each of the 256 stored values becomes; NO_VALUE for none


def export_volume(source: Path, target: Path, values: Values | None = None) -> None:
    """Bring a NIfTI file to its place in an export; what stands there whole is left.

    Without compression and without other values it is a hard link, so it takes no space; where the
    file system has none, a copy.

    Args:
        source: An uncompressed volume of the manifest.
        target: Compressed if its name ends in `.gz`.
        values: What each value of a label becomes, at its index; None leaves them.

    Raises:
        ExportError: Another file stands at `target`, or a label holds a value of no class.
    """
    if values is None and target.suffix != GZIP:
        _link(source, target)
        return
    content = source.read_bytes() if values is None else _changed(source, values)
    if target.exists():
        with igzip.open(target) if target.suffix == GZIP else target.open("rb") as file:
            if file.read() != content:
                refuse_other(target)
        return
    with whole_file(target) as temporary:
        if target.suffix == GZIP:
            temporary.write_bytes(igzip.compress(content, mtime=0))
        else:
            temporary.write_bytes(content)


def refuse_other(target: Path) -> None:
    """Refuse to write over a file.

    Raises:
        ExportError: Always.
    """
    msg = (
        f"{target} exists with another content, and is left as it is: expected a new folder, or "
        f"one that the same export began; choose another --out, or delete the file"
    )
    raise ExportError(msg)


def _link(source: Path, target: Path) -> None:
    source = source.resolve()  # a link to a link could break
    if target.exists():
        if not target.samefile(source) and sha256_of(target) != sha256_of(source):
            refuse_other(target)
        return
    with whole_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)


def _changed(source: Path, values: Values) -> bytes:
    from nibabel.nifti1 import Nifti1Header  # slow to import

    content: NDArray[Any] = np.fromfile(source, np.uint8)
    start = int(Nifti1Header(content[:HEADER_BYTES].tobytes()).get_data_offset())
    voxels = content[start:]
    changed = values[voxels]
    if (changed == NO_VALUE).any():
        found = np.unique(voxels[changed == NO_VALUE]).tolist()
        msg = f"{source} holds the values {found}, which are no classes of the label space"
        raise ExportError(msg)
    return content[:start].tobytes() + changed.astype(np.uint8).tobytes()
