"""How long a batch takes on this machine: the very step of a training, on made-up patches."""

import math
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from statistics import median
from time import perf_counter

import torch

from train.device import full_float32, timed_convolutions
from train.networks.network import NetworkSettings, plan_levels, total_strides
from train.patches.sampler import Batch
from train.planning.plan import TrainingPlan
from train.planning.view import duration
from train.training.learner import build_learner, learn
from train.training.processes import Processes, start_processes

_STEPS = 3  # that are timed, after one that warms the caches
_ENOUGH_SECONDS = 20.0
# Of all patches that are timed together on a CPU: enough for its speed to be that of whole patches,
# and little enough for the memory of a machine that only plans what another one trains.
_MOST_VOXELS_ON_CPU = 2**20


def expected_time(plan: TrainingPlan) -> str:
    """Return the expected time of epochs on the plan's device, from timing some batches.

    Reading, augmentation and validation take more time.
    """
    device, step = timed_batch(plan)
    epochs = plan.settings.stage_epochs
    first, second = (step * plan.steps(1), step * plan.steps(2))
    return (
        f"time on {device}: about {step:.2g} s a batch; {duration(first)} an epoch of the first "
        f"stage, {duration(second)} of the second; "
        f"{duration(first * epochs[0] + second * epochs[1])} in all"
    )


def timed_batch(plan: TrainingPlan) -> tuple[torch.device, float]:
    """Return the device of a training, and the seconds that it needs for a batch.

    Network, losses and optimiser do what they do in the training. On a CPU, large patches are
    replaced by smaller ones or fewer, and the time is taken to grow with the voxels.
    """
    settings = plan.settings
    learner = build_learner(plan, start_processes(settings, Processes()))
    device = learner.fabric.device
    count, size = settings.patches_at_once, settings.patch_size_zyx
    if device.type == "cpu":
        count, size = probe_size(plan.network, count)
    batch = made_batch(plan, count, size, device)
    learner.objective.start_epoch(learner.predicting)
    learner.wrapped.train()
    whole = settings.model_copy(update={"accumulation": 1})
    with timed_convolutions(), full_float32(settings.precision):
        learn(learner, batch, whole, share_of_batch=1.0)
        seconds = _timed(lambda: learn(learner, batch, whole, share_of_batch=1.0))
    voxels = settings.batch_size * math.prod(settings.patch_size_zyx)
    return device, seconds * voxels / (count * math.prod(size))


def probe_size(network: NetworkSettings, patches: int) -> tuple[int, tuple[int, ...]]:
    """Return how many patches of which size are timed on a CPU: the real ones, unless too large.

    Each axis keeps a multiple of its strides, as deep supervision needs it, and two of them at the
    deepest level, which normalises over them.
    """
    patch = network.patch_size_zyx
    voxels = math.prod(patch)
    if voxels <= _MOST_VOXELS_ON_CPU:
        return min(patches, _MOST_VOXELS_ON_CPU // voxels), patch
    shrink = (_MOST_VOXELS_ON_CPU / voxels) ** (1 / 3)
    strides = total_strides(plan_levels(network))
    return 1, tuple(
        min(n, max(2, round(n * shrink / stride)) * stride)
        for n, stride in zip(patch, strides, strict=True)
    )


def made_batch(plan: TrainingPlan, count: int, size: Sequence[int], device: torch.device) -> Batch:
    """Return patches of noise, with labels that training cases may have."""
    cases = list(islice(cycle(plan.training), count))
    merged = torch.tensor([case.merged for case in cases])
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(len(plan.label_space), (count, *size), generator=generator)
    target = torch.stack([row[ids] for row, ids in zip(merged, classes, strict=True)])
    images = torch.randn((count, 1, *size), generator=generator)
    ids = tuple(case.case_id for case in cases)
    return Batch(ids, images.to(device), target.to(device), merged, tuple(range(count)))


def _timed(step: Callable[[], object]) -> float:
    """Return the median seconds of a few steps, each of which ends with numbers on the host."""
    took: list[float] = []
    while len(took) < _STEPS and sum(took) < _ENOUGH_SECONDS:
        started = perf_counter()
        step()
        took.append(perf_counter() - started)
    return median(took)
