"""Sampler: balance, foreground in each batch, and the same batches whatever the threads do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from manifests.errors import TrainingError
from train.sampler import cut, plan_epoch, read_batches
from train.volumes import open_volume

PATCH = (16, 16, 16)


@pytest.fixture(scope="module")
def volumes(manifest_path):
    from manifests.manifest import read_manifest

    manifest = read_manifest(manifest_path)
    return [open_volume(manifest, c) for c in manifest.cases() if c.split == "train"]


@pytest.fixture(scope="module")
def some_empty(manifest_path):
    """Two of the three liver cases hold no labelled voxel, as after a liver's removal."""
    from manifests.manifest import read_manifest

    manifest = read_manifest(manifest_path)
    cases = [c for c in manifest.cases() if c.split == "train"]
    opened = [open_volume(manifest, c) for c in cases]
    return [
        replace(v, merged=(0, 0, 2)) if v.case_id in ("liver_only/3", "liver_only/4") else v
        for v in opened
    ]


def draw(volumes, seed=0, **options):
    chosen = {"patches_per_dataset": 12, "batch_size": 2, "foreground_probability": 0.0}
    return plan_epoch(
        volumes, np.random.default_rng(seed), patch_size_zyx=PATCH, **(chosen | options)
    )


@given(
    seed=st.integers(0, 10_000),
    patches_per_dataset=st.integers(1, 20),
    batch_size=st.integers(1, 5),
    foreground_probability=st.floats(0, 1),
)
@effort(max_examples=40, deadline=None)
@pytest.mark.parametrize("empty", [False, True])
def test_every_epoch_is_balanced_and_every_batch_has_foreground(
    volumes, some_empty, empty, seed, **options
):
    chosen = some_empty if empty else volumes
    plan = draw(chosen, seed, **options)
    patches = [p for batch in plan for p in batch]
    counts = Counter(chosen[p.volume].dataset for p in patches)
    n, size = options["patches_per_dataset"], options["batch_size"]
    assert counts == {"both": n, "liver_only": n}
    assert [len(b) for b in plan[:-1]] == [size] * (len(plan) - 1)
    assert all(any(p.representative for p in batch) for batch in plan)


def test_a_foreground_patch_is_centred_on_its_class(volumes):
    for batch in draw(volumes, foreground_probability=1.0):
        read = cut(volumes, batch, PATCH)
        for patch, target, merged in zip(batch, read.target, read.merged, strict=True):
            volume = volumes[patch.volume]
            assert volume.label[patch.centre_zyx] == patch.representative
            assert patch.representative in target
            assert tuple(merged.tolist()) == volume.merged


def test_every_class_is_drawn_alike_within_a_case(volumes):
    full = [v for v in volumes if v.dataset == "both"]
    plan = draw(full, patches_per_dataset=1000, foreground_probability=1.0)
    counts = Counter(p.representative for batch in plan for p in batch)
    assert counts[1] == pytest.approx(500, abs=80)


def test_patches_without_a_wish_for_foreground_go_anywhere(volumes):
    plan = draw(volumes, patches_per_dataset=300)
    starts = np.array([p.centre_zyx for b in plan for p in b if p.representative is None]) - 8
    assert len(starts) > 100
    for axis, room in enumerate((4, 8, 12)):
        positions, counts = np.unique(starts[:, axis], return_counts=True)
        assert positions.tolist() == list(range(room + 1))
        assert counts.max() < 3 * counts.mean()


def test_the_same_generator_plans_the_same_epoch(volumes):
    assert draw(volumes, 5) == draw(volumes, 5)
    assert draw(volumes, 5) != draw(volumes, 6)


def test_threads_change_nothing(volumes):
    plan = draw(volumes)
    once = [cut(volumes, batch, PATCH) for batch in plan]
    for workers in (1, 5):
        batches = list(read_batches(volumes, plan, patch_size_zyx=PATCH, workers=workers))
        assert [b.case_ids for b in batches] == [b.case_ids for b in once]
        for one, other in zip(once, batches, strict=True):
            assert torch.equal(one.hu, other.hu)
            assert torch.equal(one.target, other.target)
            assert torch.equal(one.merged, other.merged)


def test_a_failure_in_a_thread_reaches_the_caller(volumes):
    broken = [replace(v, merged=(0, 1)) for v in volumes]
    plan = draw(volumes, foreground_probability=1.0)
    with pytest.raises(TrainingError, match="expected class ids below 2"):
        list(read_batches(broken, plan, patch_size_zyx=PATCH, workers=2))


def test_a_dataset_without_a_labelled_voxel_is_refused(volumes):
    empty = [replace(v, merged=(0, 0, 2)) if v.dataset == "liver_only" else v for v in volumes]
    with pytest.raises(TrainingError, match="'liver_only': none of its 3 training cases"):
        draw(empty)
