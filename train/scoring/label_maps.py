"""Label maps made by any program: which file is which case's, and what it says on its grid."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from manifests.classes.case_names import around_case
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from manifests.table.flat_names import flat_names
from manifests.volumes.grid import Grid
from manifests.volumes.readers.repairs import OF_LABELS
from manifests.volumes.resampling.resampling import resample_label
from manifests.volumes.volume import Volume, read_volume
from train.prediction import label_map_file
from train.prediction.scan import is_hidden, is_image, scan_name
from train.prediction.sliding_window import ClassVolume
from train.scoring.label_mapping import LabelMapping

SAME_GRID_VOXELS = 0.05  # a header rounds less than this, and a shift by it changes no voxel
LEAST_COVERED = 0.9  # of the case; less is another scan, a crop, or a header that was lost
_PROBES = 16  # along each axis, to tell how much of a case a label map covers


@dataclass(frozen=True)
class LabelMapFiles:
    """Which case has which file, by case id.

    Attributes:
        problems: Why a case has no file.
        missing: Those of them that have no file at all, and not several.
        extra: Label maps of no case of the manifest.
    """

    files: dict[str, Path] = field(default_factory=dict[str, Path])
    problems: dict[str, str] = field(default_factory=dict[str, str])
    missing: tuple[str, ...] = ()
    extra: tuple[Path, ...] = ()


def find_label_maps(folder: Path, wanted: Iterable[Case], cases: Iterable[Case]) -> LabelMapFiles:
    """Find the label map of each case by its name.

    The case `btcv/0001` is `btcv_0001.nii.gz` or `btcv/0001.nii.gz`, or `0001.nii.gz` where no
    other case of the manifest is called 0001; any suffix that SimpleITK reads will do. A case
    without such a file may be named as `recipe new` reads the names of files, without words such as
    scan and seg and without a channel: `scan_0001_0000.nii.gz`.

    Args:
        folder: The label maps.
        wanted: The cases to find.
        cases: All cases of the manifest: a file of one of them is not extra.

    Raises:
        TrainingError: There is no such folder.
    """
    if not folder.is_dir():
        msg = f"no folder {folder}; expected label maps there, such as btcv_0001.nii.gz"
        raise TrainingError(msg)
    named = _names(cases)
    there = _by_name(folder, {name for names in named.values() for name in names})
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    missing: list[str] = []
    for case in wanted:
        found = [path for name in named[case.case_id] for path in there.get(name, ())]
        if len(found) == 1:
            files[case.case_id] = found[0]
        else:
            problems[case.case_id] = _problem(found, named[case.case_id], folder)
            missing += [] if found else [case.case_id]
    ours = {path for names in named.values() for name in names for path in there.get(name, ())}
    extra = [path for paths in there.values() for path in paths if path not in ours]
    return LabelMapFiles(files, problems, tuple(missing), tuple(extra))


def read_label_map(path: Path, case: Case, values: LabelMapping) -> tuple[ClassVolume, str]:
    """Read a label map as class ids on a case's grid.

    A label map on another grid, such as the original scan's, is brought onto the case's as the
    case's own labels were when it was prepared.

    Returns:
        Class ids [z, y, x], and what was done to bring them there; empty if nothing.

    Raises:
        SetAsideError: The file is no volume that can be read.
        TrainingError: A value means nothing, or it covers too little of the case.
    """
    volume = read_volume(path, OF_LABELS, is_label=True)
    image = sitk.DICOMOrient(volume.grid.image(volume.voxels), "LPS")
    classes = values.to_classes(sitk.GetArrayViewFromImage(image))
    grid, wanted = Grid.of(image), _grid_of(case)
    if _is_same(grid, wanted):
        return classes, ""
    covered = float(grid.covers(_probes(wanted)).mean())
    size, spacing = (" x ".join(f"{n:g}" for n in v) for v in (grid.size_xyz, grid.spacing_mm))
    if covered < LEAST_COVERED:
        lost = "; its size is the case's, so its header was likely lost"
        msg = (
            f"{path} covers {covered:.0%} of the case ({size} voxels of {spacing} mm)"
            f"{lost if grid.size_xyz == wanted.size_xyz else ''}; expected the grid of the case "
            f"or of the whole scan"
        )
        raise TrainingError(msg)
    resampled = resample_label(Volume(classes, grid), wanted)
    return resampled.voxels, f"resampled from {size} voxels of {spacing} mm"


def write_label_map(path: Path, classes: ClassVolume, case: Case) -> None:
    """Write class ids on a case's grid as a whole file."""
    label_map_file.write_label_map(_grid_of(case).image(classes), path)


def _images(folder: Path) -> Iterator[Path]:
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if is_image(path) and not is_hidden(path, folder) and path.is_file():
            yield path


def _by_name(folder: Path, ours: Collection[str]) -> dict[str, list[Path]]:
    """Return the label maps in a folder by the names that they have in it.

    A file that has none of our names goes by that of the case in its name, if no file has this.
    """
    paths: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(_images(folder)):
        paths[(path.parent.relative_to(folder) / scan_name(path)).as_posix()].append(path)
    found = dict(paths)
    for name in paths.keys() - set(ours):
        parent, _, last = name.rpartition("/")
        inner = f"{parent}/{around_case(last, ours)[1]}".lstrip("/")
        if inner in ours and inner not in paths:
            found[inner] = sorted([*found.get(inner, ()), *found.pop(name)])
    return found


def _names(cases: Iterable[Case]) -> dict[str, list[str]]:
    """Return the names, without a suffix, that mean each case and no other."""
    flat = flat_names(case.case_id for case in cases)
    possible = {
        case_id: dict.fromkeys((case_id, name, case_id.split("/", 1)[-1]))
        for case_id, name in flat.items()
    }
    meant = Counter(name for names in possible.values() for name in names)
    return {
        case_id: [name for name in names if meant[name] == 1] for case_id, names in possible.items()
    }


def _problem(found: list[Path], names: list[str], folder: Path) -> str:
    if found:
        return f"more than one label map: {', '.join(map(str, found))}; keep one of them"
    return f"no label map in {folder}; expected {' or '.join(names)} with the suffix of an image"


def _grid_of(case: Case) -> Grid:
    (x, y, z), (sx, sy, sz), (ox, oy, oz) = case.size, case.spacing_mm, case.origin_mm
    return Grid((x, y, z), (sx, sy, sz), (ox, oy, oz))


def _is_same(grid: Grid, other: Grid) -> bool:
    if grid.size_xyz != other.size_xyz:
        return False
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(grid.size_xyz) - 1)
    off = other.index_xyz(grid.position_mm(corners)) - corners
    return bool(np.abs(off).max() <= SAME_GRID_VOXELS)


def _probes(grid: Grid) -> Grid:
    """Return a few points spread over a grid."""
    step = np.array(grid.size_xyz) / _PROBES
    spacing, origin = step * grid.spacing_mm, grid.position_mm((step - 1) / 2)
    (sx, sy, sz), (ox, oy, oz) = spacing.tolist(), origin.tolist()
    return Grid((_PROBES, _PROBES, _PROBES), (sx, sy, sz), (ox, oy, oz))
