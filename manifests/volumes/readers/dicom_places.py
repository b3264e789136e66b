"""Where the CT series of many files lie: each series has one place, a folder or a file."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from manifests.volumes.readers.dicom_series import home
from manifests.volumes.readers.dicom_slice import read_slices


def ct_places(files: Iterable[Path]) -> list[Path]:
    """Return a place for each CT series among files, from which `read_volume` reads it.

    That is the folder that holds all of its slices, or the file of several slices where a folder
    has more than one of these. Scouts, other modalities and pictures of a screen have none. Of a
    folder only so many files are read as tell its series.
    """
    of_folders: defaultdict[Path, list[Path]] = defaultdict(list)
    for file in files:
        of_folders[file.parent].append(file)
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    places: list[Path] = []
    for folder, inside in of_folders.items():
        found = _first_series(inside)
        if found is None:
            continue
        series, many = found
        whole = _whole_series(inside) if many else []
        if len(whole) > 1:
            places += whole
        else:
            folders[series].append(folder)
    unnamed = folders.pop("", []) if len(folders) > 1 else []  # not one series, it seems
    places += [*unnamed, *map(_common, folders.values())]
    return sorted({*places})


def _first_series(files: Iterable[Path]) -> tuple[str, bool] | None:
    """Return the series of the first slice that may be of a CT, and if its file has several."""
    for file in files:
        slices = read_slices(file) or []
        if any(not s.foreign for s in slices):
            return slices[0].series, len(slices) > 1
    return None


def _whole_series(files: Iterable[Path]) -> list[Path]:
    """Return the files that hold all slices of a series each."""
    holders: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        slices = read_slices(file) or []
        if any(not s.foreign for s in slices):
            holders[slices[0].series].append(file)
    return [found[0] for found in holders.values() if len(found) == 1]


def _common(folders: list[Path]) -> Path:
    return home(folder / "slice" for folder in folders)
