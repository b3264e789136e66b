"""Series of DICOM slices, written by ITK's GDCM; their headers are told tag by tag."""

import locale

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.ground.findings import SetAsideError
from manifests.volumes.volume import read_volume

SHAPE = (6, 8, 10)  # z, y, x
STEP_MM = 2.5
UID = "1.2.826.0.1.3680043.2.1125."


def voxels():
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)


def write_slice(path, pixels, number, **tags):
    """One CT slice in Hounsfield units; GDCM stores what slope and intercept make of them."""
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing((0.8, 0.7, 1.0)[: image.GetDimension()])
    known = {
        "0008|0008": r"ORIGINAL\PRIMARY\AXIAL",
        "0008|0060": "CT",
        "0008|0018": f"{UID}9.{abs(hash(path.name)) % 10**9}",
        "0020|000e": f"{UID}1",
        "0020|000d": f"{UID}2",
        "0020|0013": str(number),
        "0020|0032": rf"-100\-90\{30 + number * STEP_MM}",
        "0020|0037": r"1\0\0\0\1\0",
        "0028|1052": "-1024",
        "0028|1053": "1",
    }
    for tag, value in (known | tags).items():
        image.SetMetaData(tag, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tagged(image, path)


def write_tagged(image, path):
    """Write an image as DICOM, with the UIDs among its tags.

    ITK leaves the process with the locale of C if the position is among the tags, and texts would
    be ASCII from then on.
    """
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)


def write_series(folder, *, numbers=range(SHAPE[0]), prefix="s", pixels=None, **tags):
    stored = voxels() if pixels is None else pixels
    for number in numbers:
        # names in reverse order: a series is ordered by position
        told = {t: v(number) if callable(v) else v for t, v in tags.items()}
        write_slice(
            folder / f"{prefix}{9 - number}.dcm", stored[number : number + 1], number, **told
        )
    return folder


def codes(volume):
    return sorted(f.code for f in volume.findings)


def aside(folder):
    with pytest.raises(SetAsideError) as error:
        read_volume(folder)
    return error.value.finding


def position(shift):
    """Tags of a series whose slice n is moved by shift(n), in mm."""

    def told(number):
        x, y, z = np.add((-100, -90, 30 + number * STEP_MM), shift(number))
        return rf"{x}\{y}\{z}"

    return {"0020|0032": told}


# --- a ball at a known place, seen by a gantry that may be tilted ---------------------------------

SPACING_XY_MM = 0.8, 0.7  # as write_slice has it
SIZE_XY = 60, 50
CENTRE_MM = np.array([3.0, -5.0, 42.0])  # of the ball
RADIUS_MM, EDGE_MM = 9.0, 8.0
TWO = np.concatenate([np.arange(0, 20, 1.5), np.arange(21, 46, 3.0)])  # 1.5 mm apart, then 3


def ball_hu(position_mm):
    """Air, a ball of 1000 HU, and between them a smooth slope; known anywhere."""
    off = np.linalg.norm(position_mm - CENTRE_MM, axis=-1)
    return -1000 * np.cos(np.pi * np.clip((RADIUS_MM - off) / EDGE_MM + 0.5, 0, 1))


def write_ball(folder, degrees, depths_mm, *, digits=9, pixels=lambda hu: hu, **tags):
    """Slices across the axis of a tilted gantry, while the table moves along z."""
    tilt = np.deg2rad(degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    first = CENTRE_MM - row * 0.4 * SIZE_XY[0] - column * 0.35 * SIZE_XY[1] - np.array((0, 0, 22))
    y, x = np.indices(SIZE_XY[::-1])
    for number, depth in enumerate(depths_mm):
        place = first + np.array((0, 0, depth))
        at = (
            place + x[..., None] * SPACING_XY_MM[0] * row + y[..., None] * SPACING_XY_MM[1] * column
        )
        told = {
            "0020|0032": "\\".join(f"{v:.{digits}f}" for v in place),
            "0020|0037": "\\".join(f"{v:.9f}" for v in (*row, *column)),
        }
        seen = pixels(ball_hu(at)).round().astype(np.int16)[None]
        write_slice(folder / f"s{number}.dcm", seen, number, **told | tags)
    return folder


def centre_mm(volume):
    weights = np.maximum(volume.voxels + 1000.0, 0)  # beyond the slices is -1024
    index = [np.average(i, weights=weights) for i in np.indices(volume.voxels.shape)]
    return volume.grid.position_mm(index[::-1])
