"""Volumes: memory maps, and merged classes at load time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.patches.mapped_case import open_case, read_target

OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def case(manifest):
    return manifest.case("both/0")


def read(manifest, relative):
    return sitk.GetArrayFromImage(sitk.ReadImage(manifest.path(relative)))


def test_a_volume_is_what_simpleitk_reads(manifest, case):
    volume = open_case(manifest, case)
    np.testing.assert_array_equal(volume.image, read(manifest, case.image))
    np.testing.assert_array_equal(volume.label, read(manifest, case.label))
    assert not volume.image.flags.owndata  # mapped, not copied
    assert volume.image.dtype == np.int16
    assert volume.label.dtype == np.uint8


def test_a_manifest_edit_changes_the_labels_that_are_read(manifest, case):
    original = open_case(manifest, case)
    edited = open_case(manifest, replace(case, merged=(0, 1, 0)))
    assert set(np.unique(read_target(original))) == {0, 1, 2}
    assert set(np.unique(read_target(edited))) == {0, 1}


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="counts open files as Linux tells them")
def test_a_volume_keeps_no_file_open(manifest, case):
    before = len(list(OPEN_FILES.iterdir()))
    volumes = [open_case(manifest, case) for _ in range(10)]
    assert all(v.image.max() > v.label.max() for v in volumes)
    assert len(list(OPEN_FILES.iterdir())) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "cases/none.nii"}, "case both/0: image: expected a file, got nothing at"),
        ({"image": "../outside.nii"}, "leaves the manifest's folder"),
        ({"size": (28, 24, 21)}, "expected a volume of"),
        ({"label": "cases/both/0/image.nii"}, "expected voxels of uint8"),
        ({"spacing_mm": (4.0, 4.0, 5.0)}, "spacing_mm"),
        ({"merged": (0, 1)}, "expected the representatives of the 3 classes"),
        ({"merged": (0, 2, 2)}, "expected the representatives"),
    ],
)
def test_a_case_that_is_not_as_the_manifest_says_is_refused(manifest, case, changes, words):
    with pytest.raises(TrainingError, match=words):
        open_case(manifest, replace(case, **changes))


@pytest.fixture
def damaged(manifest, case, tmp_path):
    """A copy of one case, whose label file may be written over."""
    for relative in (case.image, case.label):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / relative).write_bytes(manifest.path(relative).read_bytes())
    return Manifest.of([case], manifest.label_space, folder=tmp_path)


def test_a_truncated_file_is_refused(damaged, case):
    path = damaged.path(case.label)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="bytes"):
        open_case(damaged, case)


def test_a_label_that_is_no_class_is_refused(damaged, case):
    path = damaged.path(case.label)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    volume = open_case(damaged, case)
    with pytest.raises(TrainingError, match=r"both/0.*holds the value 7, expected.*below 3"):
        read_target(volume)
