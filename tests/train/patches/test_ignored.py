"""Voxels that nobody looked at: no patch is centred there, and in patches they are the same."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from manifests.classes.label_space import IGNORED
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from manifests.table.validate import unsound_rows
from tests.train.conftest import FULL, LIVER_ONLY, write_case
from tests.train.hidden_slices import DRAWN, hide_slices
from train.patches.case_dataset import CaseDataset
from train.patches.foreground_index import find_candidates, index_case
from train.patches.mapped_case import open_case, read_target
from train.patches.sampler import plan_epoch
from train.planning.plan import plan_training
from train.settings import resolve
from train.training.batches import batch_source, read_batches

CPU = torch.device("cpu")


@pytest.fixture
def manifest(tmp_path, label_space):
    cases = [
        write_case(tmp_path, f"{dataset}/{n}", merged=merged, split="train", seed=n)
        for n, (dataset, merged) in enumerate([("both", FULL), ("liver_only", LIVER_ONLY)])
    ]
    cases = [hide_slices(tmp_path, case) for case in cases]
    return Manifest.of(cases, label_space, folder=tmp_path)


@pytest.fixture
def volumes(manifest):
    return [open_case(manifest, case) for case in manifest.cases()]


def test_the_row_and_the_file_are_sound(manifest, volumes):
    assert not unsound_rows(manifest)
    target = read_target(volumes[1])
    assert np.unique(target).tolist() == [0, 1, IGNORED]
    assert ((target == IGNORED).all(axis=(1, 2)) == (np.arange(20) % DRAWN > 0)).all()


def test_the_index_has_classes_where_somebody_looked_and_all_that_was_looked_at(volumes, tmp_path):
    for _ in range(2):  # searched, then read from its file
        index = index_case(volumes[0], tmp_path)
        assert set(index) == {0, 1, 2}
        np.testing.assert_array_equal(index[1].flat, np.flatnonzero(volumes[0].label == 1))
        assert index[0].count == np.count_nonzero(volumes[0].label != IGNORED)
        assert (volumes[0].label.reshape(-1)[index[0].flat] != IGNORED).all()


@pytest.mark.parametrize("foreground", [0.0, 0.5])
def test_no_patch_is_centred_where_nobody_looked(manifest, volumes, foreground):
    settings = resolve("tiny", ["patch_size_zyx=16,16,16", "patches_per_dataset=200"])
    settings = settings.model_copy(update={"foreground_probability": foreground})
    candidates = find_candidates(volumes, manifest.folder, workers=1)
    plan = plan_epoch(candidates, settings, np.random.default_rng(0))
    centres = [patch.centre_zyx for batch in plan for patch in batch]
    assert len(centres) == 400
    assert {z % DRAWN for z, _, _ in centres} == {0}
    assert {z for z, _, _ in centres} == {0, 5, 10, 15}
    assert len({yx for _, *yx in map(tuple, centres) for yx in [tuple(yx)]}) > 100


@pytest.mark.parametrize("residence", ["device", "host", "disk"])
@pytest.mark.parametrize(
    "augmentation", ["augmentation=none", "augmentation=nnunet"], ids=["plain", "augmented"]
)
def test_ignored_voxels_stay_so_in_batches(manifest, volumes, residence, augmentation):
    options = ["patch_size_zyx=16,16,16", "patches_per_dataset=8", f"residence={residence}"]
    plan = plan_training(manifest, resolve("tiny", [*options, augmentation]))
    source = batch_source(volumes, plan, CPU)
    candidates = find_candidates(volumes, manifest.folder, workers=1)
    epoch = plan_epoch(candidates, plan.settings, np.random.default_rng(0))
    for batch in read_batches(source, epoch):
        for target, merged in zip(batch.target, batch.merged, strict=True):
            assert {*target.unique().tolist()} <= {*merged.tolist(), IGNORED}
            assert (target == IGNORED).any()
            assert (target != IGNORED).any()


def test_a_dataset_for_a_loop_of_ones_own_shows_them(manifest):
    dataset = CaseDataset(manifest, [*manifest.cases()], patch_size_zyx=(8, 8, 8))
    assert IGNORED in dataset[0]["label"]
    whole = CaseDataset(manifest, [*manifest.cases()])[1]["label"][0]
    assert whole.unique().tolist() == [0, 1, IGNORED]


def test_a_value_between_the_classes_and_the_ignored_one_is_refused_though_some_are_ignored(
    manifest, volumes
):
    path = volumes[0].label_file.path
    image = sitk.ReadImage(path)
    image[0, 0, 0] = 7
    sitk.WriteImage(image, path)
    with pytest.raises(TrainingError, match="holds the value 7"):
        read_target(volumes[0])
    with pytest.raises(TrainingError, match="holds the value 7"):
        index_case(replace(volumes[0], label_sha256="none"), manifest.folder)
