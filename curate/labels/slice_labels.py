"""Labels that go by the image's files: slice k belongs to the k-th DICOM file, by its name.

Such a label is a file whose header says nothing or something wrong, or a folder of pictures.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from curate.labels.label_files import LabelArray, check_listed, whole_numbers
from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.readers.dicom import slice_files
from manifests.volumes.volume import read_volume


def read_by_slices(
    label: Path, image: Path, grid: Grid, values: Collection[int]
) -> tuple[LabelArray, list[Finding]]:
    """Read a label map slice by slice onto the grid of a DICOM series.

    Rows and columns lie as in the DICOM files, whatever the label's header says.

    Returns:
        Only 0 and `values`, which the recipe lists, [z, y, x]; and what was noticed.

    Raises:
        SetAsideError: The label cannot be used.
    """
    if not image.is_dir():
        reason = f"{image}: expected a folder of DICOM files, by whose names the label's slices go"
        raise SetAsideError(Finding("grid_mismatch", reason))
    slices = _pictures(label) if label.is_dir() else read_volume(label).voxels
    files = slice_files(image)
    size = (len(files), *grid.size_xyz[1::-1])
    if slices.shape != size:
        reason = f"{label}: the image has {_said(size)}, the label {_said(slices.shape)}"
        raise SetAsideError(Finding("grid_mismatch", reason))
    place = {path: k for k, path in enumerate(sorted(files, key=_by_number))}
    whole, findings = whole_numbers(slices[[place[path] for path in files]], label)
    check_listed(whole, values, label)
    return whole, findings


def _pictures(folder: Path) -> NDArray[Any]:
    """Return the PNG pictures of a folder, by the numbers in their names [k, y, x]."""
    paths = sorted(folder.glob("*.png"), key=_by_number)
    try:
        pictures = [_picture(path) for path in paths]
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SetAsideError(Finding("unreadable", f"{folder}: {error}")) from error
    if len({picture.shape for picture in pictures}) != 1 or pictures[0].ndim != 2:
        shapes = sorted({picture.shape for picture in pictures})
        reason = f"{folder}: expected grey PNG pictures of one size; got shapes {shapes}"
        raise SetAsideError(Finding("unreadable", reason))
    return np.stack(pictures)


def _picture(path: Path) -> NDArray[Any]:
    with Image.open(path, formats=["PNG"]) as picture:
        pixels = np.asarray(picture)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.name)], path.name


def _said(shape: tuple[int, ...]) -> str:
    slices, rows, columns = shape
    return f"{slices} slices of {columns} x {rows}"
