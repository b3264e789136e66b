"""Residence: where volumes are is decided by their size, and changes nothing that comes out."""

import os
import shutil

import numpy as np
import pytest
import torch

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.patches import residence
from train.patches.mapped_case import open_case
from train.patches.residence import choose_kind, open_residence

CPU = torch.device("cpu")
KINDS = ("device", "host", "disk")
GIB = 2**30


@pytest.fixture
def volumes(manifest):
    return [open_case(manifest, case) for case in manifest.cases()]


@pytest.fixture
def copied(manifest, tmp_path):
    """A copy of one case, whose files may be written over and removed."""
    case = manifest.case("both/0")
    for relative in (case.image, case.label):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest.path(relative), tmp_path / relative)
    return open_case(Manifest.of([case], manifest.label_space, folder=tmp_path), case)


@pytest.mark.parametrize(
    ("asked", "needed", "device_free", "host_free", "expected"),
    [
        ("auto", 30 * GIB, 70 * GIB, 200 * GIB, "device"),
        ("auto", 30 * GIB, 22 * GIB, 200 * GIB, "host"),
        ("auto", 30 * GIB, None, 200 * GIB, "host"),
        ("auto", 30 * GIB, 22 * GIB, 50 * GIB, "disk"),
        ("auto", 30 * GIB, None, None, "disk"),
        ("disk", 1, 70 * GIB, 200 * GIB, "disk"),
        ("host", 30 * GIB, None, 1 * GIB, "host"),
        ("device", 30 * GIB, 40 * GIB, None, "device"),
        ("device", 30 * GIB, None, None, "device"),
    ],
)
def test_the_size_decides_unless_the_user_does(asked, needed, device_free, host_free, expected):
    assert choose_kind(asked, needed, device_free=device_free, host_free=host_free) == expected


def test_a_device_that_is_too_small_is_refused():
    with pytest.raises(TrainingError, match=r"are 30.0 GiB.*has 22.0 GiB free; set residence=host"):
        choose_kind("device", 30 * GIB, device_free=22 * GIB, host_free=None)


def test_linux_tells_how_much_memory_there_is(monkeypatch, tmp_path):
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal:       24000000 kB\nMemAvailable:   12000000 kB\n")
    monkeypatch.setattr(residence, "_MEMORY", memory)
    monkeypatch.setattr(residence, "usable_bytes", lambda: 2**40)
    assert residence._host_free() == 12_000_000 * 1024
    monkeypatch.setattr(residence, "usable_bytes", lambda: 2**30)  # a container's share
    assert residence._host_free() == 2**30
    monkeypatch.setattr(residence, "_MEMORY", tmp_path / "none")
    assert residence._host_free() is None


@pytest.mark.parametrize("kind", KINDS)
def test_voxels_are_those_of_the_files(volumes, kind):
    opened = open_residence(volumes, kind, CPU)
    assert opened.kind == kind
    for volume in volumes:
        voxels = opened.voxels(volume.case_id)
        np.testing.assert_array_equal(voxels.hu.numpy(), volume.image)
        np.testing.assert_array_equal(voxels.label.numpy(), volume.label)


@pytest.mark.parametrize(("kind", "gone"), [("device", False), ("host", False), ("disk", True)])
def test_only_the_disk_needs_its_files_later(copied, kind, gone):
    opened = open_residence([copied], kind, CPU)
    expected = int(copied.image.sum(dtype=np.int64))
    copied.image_file.path.unlink()
    if gone:
        with pytest.raises(TrainingError, match=r"image.nii cannot be read any more.*to resume"):
            opened.voxels(copied.case_id)
    else:
        assert opened.voxels(copied.case_id).hu.sum().item() == expected


@pytest.mark.parametrize("kind", ["host", "disk"])
@pytest.mark.parametrize("file", ["image_file", "label_file"])
def test_a_file_that_was_cut_off_is_told_and_does_not_end_the_process(copied, kind, file):
    opened = open_residence([copied], kind, CPU)
    path = getattr(copied, file).path
    os.truncate(path, path.stat().st_size - 5000)
    with pytest.raises(TrainingError, match=f"{path.name} (was cut off|cannot be read any more)"):
        opened.voxels(copied.case_id)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_done_to_voxels_reaches_the_files(copied, kind):
    before = copied.image_file.path.read_bytes()
    open_residence([copied], kind, CPU).voxels(copied.case_id).hu.add_(1)
    assert copied.image_file.path.read_bytes() == before


def test_voxels_may_begin_at_an_odd_byte(copied):
    path = copied.image_file.path
    expected = np.array(copied.image)
    path.write_bytes(b"\0" + path.read_bytes())
    moved = copied.image_file.__class__(
        path, copied.image_file.dtype, copied.shape_zyx, copied.image_file.offset + 1
    )
    np.testing.assert_array_equal(moved.map().numpy(), expected)


def test_a_label_that_is_no_class_does_not_get_onto_the_device(copied):
    path = copied.label_file.path
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(TrainingError, match=r"both/0.*holds the value 7, expected.*below 3"):
        open_residence([copied], "device", CPU)


@pytest.mark.gpu
def test_on_a_gpu_voxels_are_there(volumes):
    opened = open_residence(volumes, "auto", torch.device("cuda"))
    assert opened.kind == "device"
    voxels = opened.voxels("both/0")
    assert (voxels.hu.device.type, voxels.label.device.type) == ("cuda", "cuda")
    np.testing.assert_array_equal(voxels.hu.cpu().numpy(), volumes[0].image)
