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
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM leaves the process with that of C


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
