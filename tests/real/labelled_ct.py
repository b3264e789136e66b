"""Real CTs and masks of kidneys as `prepare` would have them, for tests and benchmarks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curate.kidneys.split import split_kidneys
from curate.labels.relabel import BlockMap
from manifests.classes.label_space import LabelSpace
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume, read_volume

KIDNEYS = {1: ("left_kidney", "right_kidney"), 2: ("left_kidney_tumour", "right_kidney_tumour")}


def structure_of(name: str) -> str:
    """Return marginalia's name of one of TotalSegmentator's structures."""
    name = re.sub(r"(kidney|adrenal)(_gland)?_(left|right)", r"\3_\1", name)
    return name.replace("portal_vein_and", "portal_and")


def harmonised_ct(
    folder: Path, space: LabelSpace, spacing_mm: tuple[float, float, float]
) -> tuple[Volume, np.ndarray]:
    """Return the image and the class ids of a folder of `totalsegmentator`."""
    image = to_hounsfield(read_volume(folder / "image.nii.gz"), folder)
    label = read_volume(folder / "label.nii.gz").voxels.astype(np.uint8)
    table = np.zeros(256, np.uint8)
    for value, name in json.loads((folder / "labels.json").read_text()).items():
        table[int(value)] = space.class_of.get(structure_of(name), 0)
    grid = harmonised_grid(image.grid, spacing_mm)
    ids = resample_label(Volume(table[label], image.grid), grid).voxels
    return resample_image(image, grid), ids


def kidney_masks(data: Path, spacing_mm: tuple[float, float, float]) -> Iterator[np.ndarray]:
    """Yield the masks of KiTS19, 1 for the left kidney with its tumours and 2 for the right."""
    for path in sorted((data / "kits19").glob("case_*/segmentation.nii.gz")):
        mask = read_volume(path)
        labels = BlockMap.of(Volume(mask.voxels.astype(np.uint8), mask.grid), KIDNEYS)
        sides = split_kidneys(labels.two_sided()).labels
        yield resample_label(sides, harmonised_grid(mask.grid, spacing_mm)).voxels
