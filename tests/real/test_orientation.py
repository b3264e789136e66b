"""The header's axes against the anatomy of real patients, as they are and turned in every way."""

import json
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import SimpleITK as sitk

from curate.labels.relabel import BlockMap
from manifests.anatomy.audit import audit_orientation
from manifests.classes.structures import vocabulary
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.resampling.resampling import resample_image
from manifests.volumes.volume import Volume, read_volume

TURNS = [axes for count in range(4) for axes in combinations(range(3), count)]
# What the scan itself shows of left-right, back-front and head-foot; the rest is undecided.
SHOWN = {
    "example_ct": ((0, 1, 2), (0, 1, 2), (0, 1, 2)),
    "example_ct_sm": ((0, 1), (0, 1, 2), (0, 1, 2)),  # lungs, but too little below them
    "example_ct_dicom": ((0, 1), (0, 1), (0, 1)),  # 4 cm at the height of the liver
}
SOURCES = ("image", "labels", "both")


def structure_of(name):
    name = re.sub(r"(kidney|adrenal)(_gland)?_(left|right)", r"\3_\1", name)
    return name.replace("portal_vein_and", "portal_and")


@pytest.fixture(scope="session")
def patient(shared_data):
    """Image and labels by name, read once."""
    read = {}

    def get(name):
        if name not in read:
            read[name] = read_patient(shared_data / "totalsegmentator" / name)
        return read[name]

    return get


def read_patient(folder):
    image = Volume.of(sitk.ReadImage(str(folder / "image.nii.gz")))
    values = {
        int(value): structure_of(name)
        for value, name in json.loads((folder / "labels.json").read_text()).items()
        if structure_of(name) in vocabulary()
    }
    listed = read_volume(folder / "label.nii.gz").voxels.astype(np.uint16)
    listed[~np.isin(listed, list(values))] = 0
    return image, BlockMap.of(
        Volume(listed, image.grid), {value: (name,) for value, name in values.items()}
    )


def turned(volume, axes):
    """Turn what a volume holds along LPS axes, and leave its header: the header is then wrong."""
    columns = np.abs(np.reshape(volume.grid.direction_lps, (3, 3))).argmax(axis=1)
    flipped = np.flip(volume.voxels, (2 - columns[list(axes)]).tolist())
    return Volume(flipped, volume.grid)


def turned_labels(labels, axes):
    return replace(labels, volume=turned(labels.volume, axes))


def words(verdicts):
    return [verdict.verdict for verdict in verdicts]


def part(volume, slices):
    grid = volume.grid
    start, stop = (0, 0, slices.start), (*grid.size_xyz[:2], slices.stop)
    return Volume(volume.voxels[slices], grid.part(start, stop, (1, 1, 1)))


@pytest.mark.parametrize("axes", TURNS)
@pytest.mark.parametrize("name", SHOWN)
def test_every_turned_axis_is_told(patient, name, axes):
    image, labels = patient(name)
    image, labels = turned(image, axes), turned_labels(labels, axes)
    for source, shown in zip(SOURCES, SHOWN[name], strict=True):
        verdicts = audit_orientation(
            image if source != "labels" else None, labels if source != "image" else None
        )
        expected = ["suspect" if axis in axes else "plausible" for axis in range(3)]
        told = [expected[axis] if axis in shown else "undecided" for axis in range(3)]
        assert words(verdicts) == told, source


@pytest.mark.parametrize("slices", [10, 24, 40])
def test_a_slab_is_not_accused_and_a_turned_one_not_acquitted(patient, slices):
    image, labels = patient("example_ct")
    for first in range(0, len(image.voxels) - slices + 1, 12):
        window = slice(first, first + slices)
        slab = part(image, window)
        slab_labels = replace(labels, volume=part(labels.volume, window))
        for given in ((slab, None), (None, slab_labels), (slab, slab_labels)):
            assert "suspect" not in words(audit_orientation(*given))
        over = turned(slab, [0, 1, 2]), turned_labels(slab_labels, [0, 1, 2])
        for given in ((over[0], None), (None, over[1]), over):
            assert "plausible" not in words(audit_orientation(*given))


@pytest.mark.parametrize("name", SHOWN)
def test_noise_offsets_and_other_grids_change_nothing_that_is_told(patient, name):
    image = patient(name)[0]
    rng = np.random.default_rng(0)
    hu, grid = image.voxels, image.grid
    changes = [
        Volume((hu + rng.normal(0.0, 50.0, hu.shape)).astype(np.float32), grid),
        Volume(hu + 40, grid),
        Volume(hu - 40, grid),
        resample_image(image, harmonised_grid(grid, (1.5, 1.5, 3.0))),
        resample_image(image, harmonised_grid(grid, (4.0, 4.0, 5.0))),
    ]
    told = words(audit_orientation(image))
    for changed in changes:
        found = words(audit_orientation(changed))
        assert all(now in {before, "undecided"} for now, before in zip(found, told, strict=True))
        assert found[1] == "plausible"


@pytest.mark.parametrize("case", [23, 40])
def test_kidneys_without_sides_do_not_accuse(shared_data, case):
    path = shared_data / "kits19" / f"case_{case:05}" / "segmentation.nii.gz"
    values = {1: ("left_kidney", "right_kidney"), 2: ("left_kidney_tumour", "right_kidney_tumour")}
    labels = BlockMap.of(read_volume(path), values)
    assert words(audit_orientation(labels=labels)) == ["undecided"] * 3
