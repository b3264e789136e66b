"""The time of a batch: what is timed is a step of the training, on patches that it may have."""

import math
from dataclasses import replace

import pytest
import torch

from train.methods.table import METHODS
from train.networks.network import NetworkSettings, plan_levels, total_strides
from train.planning.plan import plan_training
from train.settings import PRESETS
from train.training import batch_time
from train.training.batch_time import expected_time, made_batch, probe_size, timed_batch


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("patch", [(48, 160, 160), (40, 192, 224), (24, 80, 56), (16, 16, 16)])
def test_a_small_patch_is_timed_itself_and_a_large_one_as_a_smaller_one(preset, patch):
    settings = PRESETS[preset].model_copy(update={"patch_size_zyx": patch})
    network = NetworkSettings.of(settings, (1.5, 1.5, 3.0))
    count, size = probe_size(network, 2)
    assert count * math.prod(size) <= 1.5 * 2**20
    if math.prod(patch) <= 2**19:
        assert (count, size) == (2, patch)
    strides = total_strides(plan_levels(network))
    whole = all(n % stride == 0 for n, stride in zip(patch, strides, strict=True))
    if whole:
        assert all(n % stride == 0 for n, stride in zip(size, strides, strict=True))


def test_made_patches_have_labels_that_their_cases_may_have(manifest, settings):
    plan = plan_training(manifest, settings)
    batch = made_batch(plan, 7, (8, 9, 10), torch.device("cpu"))
    assert batch.images.shape == (7, 1, 8, 9, 10)
    for merged, target in zip(batch.merged, batch.target, strict=True):
        assert set(target.unique().tolist()) == set(merged.tolist())


def test_the_time_grows_with_what_was_not_timed(manifest, settings, monkeypatch):
    plan = plan_training(manifest, settings)
    monkeypatch.setattr(batch_time, "_timed", lambda step: (step(), 0.5)[1])
    assert timed_batch(plan)[1] == 0.5
    four = replace(plan, settings=settings.model_copy(update={"batch_size": 4, "accumulation": 2}))
    assert timed_batch(four)[1] == 1.0
    monkeypatch.setattr(batch_time, "_MOST_VOXELS_ON_CPU", 16**3)
    assert timed_batch(plan)[1] == 1.0
    assert "about 1 s a batch; 2.0 s an epoch of the first stage" in expected_time(plan)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_timed(manifest, settings, method):
    settings = settings.model_copy(update={"method": method, "patch_size_zyx": (32, 32, 32)})
    assert timed_batch(plan_training(manifest, settings))[1] > 0
