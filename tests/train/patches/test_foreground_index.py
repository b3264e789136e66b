"""Foreground index: it tells the truth, is kept beside the manifest, and is never stale."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.patches import foreground_index
from train.patches.foreground_index import find_candidates, foreground_of, index_case
from train.patches.mapped_case import open_case, read_target


@pytest.fixture
def volume(manifest):
    return open_case(manifest, manifest.case("both/0"))


@pytest.fixture
def searches(monkeypatch):
    """The cases whose labels are searched from now on."""
    found, search = [], foreground_index._search

    def spy(volume):
        found.append(volume.case_id)
        return search(volume)

    monkeypatch.setattr(foreground_index, "_search", spy)
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for n in one:
        assert one[n].count == other[n].count
        np.testing.assert_array_equal(one[n].flat, other[n].flat)


def kept_file(folder, volume):
    return folder / "foreground" / f"{volume.label_sha256}.safetensors"


def test_it_holds_every_voxel_of_a_small_class(volume, manifest, tmp_path):
    index = index_case(volume, tmp_path)
    assert set(index) == {1, 2}
    for n, voxels in index.items():
        np.testing.assert_array_equal(voxels.flat, np.flatnonzero(volume.label == n))
        assert voxels.count == manifest.case("both/0").voxels[n]


def test_a_large_class_is_indexed_in_part_but_throughout(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("train.patches.foreground_index._VOXELS_PER_CLASS", 50)
    everything = np.flatnonzero(volume.label == 1)
    voxels = index_case(volume, tmp_path)[1]
    assert (voxels.count, voxels.flat.size) == (everything.size, 50)
    assert (voxels.flat[0], voxels.flat[-1]) == (everything[0], everything[-1])
    assert np.isin(voxels.flat, everything).all()


def test_it_is_searched_once_and_kept_beside_the_manifest(volume, tmp_path, searches):
    first = index_case(volume, tmp_path)
    assert_same(index_case(volume, tmp_path), first)
    assert searches == ["both/0"]
    assert [p.name for p in (tmp_path / "foreground").iterdir()] == [
        f"{volume.label_sha256}.safetensors"
    ]


def test_another_label_file_is_searched_anew(volume, tmp_path, searches):
    index_case(volume, tmp_path)
    index_case(replace(volume, label_sha256="0" * 64), tmp_path)
    assert len(searches) == 2


def test_a_case_without_foreground_has_an_empty_index_that_is_kept(volume, tmp_path, searches):
    path = tmp_path / "label.nii"
    shutil.copy(volume.label_file.path, path)
    z, y, x = volume.shape_zyx
    path.write_bytes(path.read_bytes()[: volume.label_file.offset] + bytes(z * y * x))
    empty = replace(volume, label_file=replace(volume.label_file, path=path))
    assert index_case(empty, tmp_path) == {}
    assert index_case(empty, tmp_path) == {}
    assert len(searches) == 1


def test_a_folder_that_cannot_be_written_to_changes_nothing(volume, tmp_path, searches):
    (tmp_path / "foreground").write_text("a file where the folder would be")
    first = index_case(volume, tmp_path)
    assert_same(index_case(volume, tmp_path), first)
    assert len(searches) == 2


def test_a_digest_that_is_none_names_no_file(volume, tmp_path):
    strange = replace(volume, label_sha256="../../elsewhere")
    assert set(index_case(strange, tmp_path)) == {1, 2}
    assert not list(tmp_path.iterdir())


def flat(*values, dtype=np.int64):
    return np.array(values, dtype)


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        {"1/flat": flat(5)},
        {"1/flat": flat(5), "1/count": flat(0)},
        {"1/flat": flat(-1), "1/count": flat(1)},
        {"1/flat": flat(10**9), "1/count": flat(1)},
        {"1/flat": flat(5, dtype=np.int32), "1/count": flat(1)},
        {"3/flat": flat(5), "3/count": flat(1)},
        {"one/flat": flat(5), "one/count": flat(1)},
    ],
)
def test_a_damaged_index_is_made_anew(volume, tmp_path, searches, arrays):
    first = index_case(volume, tmp_path)
    path = kept_file(tmp_path, volume)
    if arrays is None:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        save_file(arrays, path)
    assert_same(index_case(volume, tmp_path), first)
    index_case(volume, tmp_path)
    assert len(searches) == 2


@pytest.mark.parametrize("merged", [(0, 1, 2), (0, 1, 0), (0, 0, 2), (0, 1, 1)])
def test_merged_classes_are_applied_to_what_was_indexed(volume, tmp_path, merged):
    target = read_target(replace(volume, merged=merged)).ravel()
    foreground = foreground_of(index_case(volume, tmp_path), merged)
    assert set(foreground) == set(np.unique(target[target > 0]))
    for n, indices in foreground.items():
        assert sorted(indices) == np.flatnonzero(target == n).tolist()


def test_in_a_large_group_each_class_has_its_share(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("train.patches.foreground_index._VOXELS_PER_CLASS", 100)
    index = index_case(volume, tmp_path)
    indices = foreground_of(index, (0, 1, 1))[1]
    held = volume.label.reshape(-1)[indices]
    share = index[1].count / (index[1].count + index[2].count)
    assert len(indices) == pytest.approx(100, abs=1)
    assert (held == 1).mean() == pytest.approx(share, abs=0.02)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(volume, tmp_path):
    half = tmp_path / "foreground" / ".0a1b.partial.other.safetensors"
    half.parent.mkdir()
    half.write_bytes(b"half")
    index_case(volume, tmp_path)
    assert not half.exists()
    assert kept_file(tmp_path, volume).is_file()


def test_a_full_disk_does_not_keep_a_case_from_its_index(volume, tmp_path, monkeypatch):
    def full(*_args):
        message = "No space left on device"
        raise SafetensorError(message)

    monkeypatch.setattr("train.patches.foreground_index.save_file", full)
    assert set(index_case(volume, tmp_path)) == {1, 2}
    assert not list(tmp_path.glob("foreground/*.safetensors"))


def test_candidates_are_what_the_manifest_says(manifest, tmp_path):
    cases = list(manifest.cases())
    volumes = [open_case(manifest, case) for case in cases]
    candidates = find_candidates(volumes, tmp_path, workers=3)
    for case, found in zip(cases, candidates, strict=True):
        assert (found.case_id, found.dataset, found.merged) == (
            case.case_id,
            case.dataset,
            case.merged,
        )
        assert found.shape_zyx == tuple(reversed(case.size))
        assert {n: f.size for n, f in found.foreground.items()} == {
            n: case.voxels[n] for n in set(case.merged) - {0}
        }


def test_a_label_that_is_no_class_is_refused(manifest, tmp_path):
    case = manifest.case("both/0")
    for relative in (case.image, case.label):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest.path(relative), tmp_path / relative)
    path = tmp_path / case.label
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    copy = Manifest.of([case], manifest.label_space, folder=tmp_path)
    with pytest.raises(TrainingError, match=r"both/0.*holds the value 7, expected.*below 3"):
        index_case(open_case(copy, case), tmp_path)
