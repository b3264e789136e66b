"""Batches: the same patches from everywhere, with what was planned in them."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from manifests.ground.errors import TrainingError
from train.boxes import patch_box
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import open_case, read_target
from train.patches.residence import CaseVoxels, Residence, open_residence
from train.patches.sampler import Candidate, PatchPlan, plan_epoch
from train.planning.plan import plan_training
from train.settings import resolve
from train.training.batches import batch_source, read_batches

CPU = torch.device("cpu")
KINDS = ("device", "host", "disk")
OPTIONS = ["patch_size_zyx=16,16,16", "patches_per_dataset=8"]
ALWAYS = [
    "augmentation=nnunet",
    *(f"augmentation.{change}" for change in ("rotation=1,-30,30", "elastic=1,0,12")),
]


@pytest.fixture
def opened(manifest):
    """A source of batches, and an epoch's plan, for some settings."""

    def open_source(*options, device=CPU, merged=None):
        settings = resolve("tiny", [*OPTIONS, *options])
        plan = plan_training(manifest, settings)
        volumes = [open_case(manifest, case) for case in plan.training]
        if merged:
            volumes = [replace(v, merged=merged) for v in volumes]
        source = batch_source(volumes, plan, device)
        candidates = find_candidates(volumes, manifest.folder, workers=1)
        return source, plan_epoch(candidates, settings, np.random.default_rng(0))

    return open_source


def assert_same(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others, strict=True):
        assert one.case_ids == other.case_ids
        assert torch.equal(one.images.cpu(), other.images.cpu())
        assert torch.equal(one.target.cpu(), other.target.cpu())
        assert torch.equal(one.merged, other.merged)


@pytest.mark.parametrize("augmentation", [["augmentation=none"], ALWAYS])
def test_every_residence_gives_the_same_batches_bit_by_bit(opened, augmentation):
    one, *others = (
        list(read_batches(*opened(f"residence={kind}", *augmentation))) for kind in KINDS
    )
    for other in others:
        assert_same(one, other)


@pytest.mark.parametrize("kind", ["host", "disk"])
def test_threads_change_nothing(opened, kind):
    one, other = (
        list(read_batches(*opened(f"residence={kind}", f"workers={n}", *ALWAYS))) for n in (1, 5)
    )
    assert_same(one, other)


def test_a_patch_is_the_same_in_whatever_batch_it_is(opened):
    source, plan = opened(*ALWAYS)
    patches = [patch for batch in plan for patch in batch]
    (together,) = read_batches(source, [patches])
    alone = list(read_batches(source, [[patch] for patch in patches]))
    assert torch.equal(together.images, torch.cat([b.images for b in alone]))
    assert torch.equal(together.target, torch.cat([b.target for b in alone]))


def test_without_augmentation_a_patch_is_a_box_of_the_volume(opened):
    source, _ = opened("augmentation=none")
    volume = source.residence.cases["both/0"]
    box = np.s_[1:17, 8:24, 12:28]  # moved inside, along x
    (batch,) = read_batches(source, [[PatchPlan("both/0", (9, 16, 25), None, 0)]])
    hu = torch.from_numpy(np.array(volume.image[box]))
    assert torch.equal(batch.images[0, 0], source.plan.normalisation.apply(hu))
    np.testing.assert_array_equal(batch.target[0].numpy(), read_target(volume)[box])


def test_beyond_the_volume_there_is_air_and_background(opened):
    source, _ = opened("augmentation=none", "patch_size_zyx=24,28,30")
    (batch,) = read_batches(source, [[PatchPlan("both/0", (3, 3, 3), None, 0)]])
    volume = source.residence.cases["both/0"]
    inside = np.s_[2:22, 2:26, 1:29]
    outside = torch.ones(24, 28, 30, dtype=torch.bool)
    outside[inside] = False
    air = source.plan.normalisation.apply(torch.tensor(-1024))
    assert set(batch.images[0, 0][outside].tolist()) == {air.item()}
    assert set(batch.target[0][outside].tolist()) == {0}
    np.testing.assert_array_equal(batch.target[0][inside].numpy(), read_target(volume))


def test_merged_classes_are_applied_as_patches_are_cut(opened):
    source, plan = opened("augmentation=none", merged=(0, 1, 0))
    batches = list(read_batches(source, plan))
    assert {n for b in batches for n in b.target.unique().tolist()} == {0, 1}
    assert all(row == [0, 1, 0] for b in batches for row in b.merged.tolist())


def test_a_patch_with_foreground_keeps_it_whatever_is_done_to_it(opened):
    small = ["patch_size_zyx=16,16,16", "augmentation.scaling=1,0.25,0.5"]
    source, plan = opened(*ALWAYS, *small, "foreground_probability=1")
    for batch, patches in zip(read_batches(source, plan), plan, strict=True):
        for target, patch in zip(batch.target, patches, strict=True):
            assert patch.representative in target


@pytest.mark.parametrize("shape", [(1, 24, 28), (3, 9, 40), (15, 16, 17)])
def test_a_volume_smaller_than_the_patch_is_changed_about_its_own_middle(opened, shape):
    options = ("augmentation.scaling=1,0.7,1.4", "augmentation.mirror_zyx=0,0,0", "batch_size=8")
    source, _ = opened(*ALWAYS, *options, "foreground_probability=0")
    case = source.residence.cases["both/0"]
    case = replace(case, image_file=replace(case.image_file, shape_zyx=shape))
    candidate = Candidate(case.case_id, case.dataset, case.merged, shape, {1: np.array([0])})
    plan = plan_epoch([candidate], source.plan.settings, np.random.default_rng(0))
    patches = [p for batch in plan for p in batch if p.representative is None]
    assert patches
    for patch in patches:
        label = torch.zeros(shape, dtype=torch.uint8)
        label[patch.centre_zyx] = 1
        held = {case.case_id: CaseVoxels(label.short(), label)}
        residence = Residence("device", {case.case_id: case}, held)
        (batch,) = read_batches(replace(source, residence=residence), [[patch]])
        start = patch_box(patch.centre_zyx, (16, 16, 16), shape).start_zyx
        there = tuple(c - s for c, s in zip(patch.centre_zyx, start, strict=True))
        assert batch.target[0][there] == 1


def test_a_failure_in_a_thread_reaches_the_caller(opened):
    source, plan = opened("residence=disk")
    broken = {name: replace(v, merged=(0, 1)) for name, v in source.residence.cases.items()}
    source = replace(source, residence=replace(source.residence, cases=broken))
    with pytest.raises(TrainingError, match="expected class ids below 2"):
        list(read_batches(source, plan))


def test_batches_are_made_one_by_one(opened):
    source, plan = opened("residence=device")
    batches = read_batches(source, plan)
    assert inspect.isgenerator(batches)
    assert next(batches).case_ids == tuple(p.case_id for p in plan[0])
    batches.close()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_batches_are_those_of_the_cpu(opened, kind):
    options = [f"residence={kind}", *ALWAYS]
    on_cpu, on_gpu = (
        list(read_batches(*opened(*options, device=torch.device(name)))) for name in ("cpu", "cuda")
    )
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert (other.images.device.type, other.target.device.type) == ("cuda", "cuda")
        torch.testing.assert_close(one.images, other.images.cpu(), atol=2e-3, rtol=1e-3)
        # a position half way between two voxels may be rounded to either
        assert (one.target != other.target.cpu()).float().mean() < 1e-3
        assert torch.equal(one.merged, other.merged)


def test_a_residence_holds_what_it_was_given(opened, manifest):
    source, _ = opened()
    assert open_residence([], "auto", CPU).held == {}
    assert set(source.residence.cases) == {
        c.case_id for c in manifest.cases() if c.split == "train"
    }
