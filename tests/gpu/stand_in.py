"""A training step on a device that is not there: shapes and devices are real, numbers are not.

On PyTorch's `meta` device, which every build has, whatever would read a number of a GPU raises an
error. In a CUDA build, fake tensors (`pretend.py`) stand in for CUDA and see more.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators.cpu import CPUAccelerator
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from manifests.table.manifest import Manifest
from train.methods.table import METHODS
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import open_case
from train.patches.sampler import Batch, plan_epoch
from train.planning.plan import TrainingPlan, plan_training
from train.settings import TrainSettings
from train.training import learner as learner_module
from train.training.batches import batch_source, read_batches
from train.training.learner import Learner, build_learner, learn

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
READS = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default),
    *(aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default),
    *(aten.bincount.default, aten.repeat_interleave.Tensor, aten.equal.default),
}

# Each step of the augmentation, in each patch.
ALWAYS = {
    **dict.fromkeys(("scaling", "brightness", "contrast", "gamma"), "1,0.7,1.5"),
    **{"inverted_gamma": "1,0.7,1.5", "noise": "1,0,0.1", "blur": "1,0.5,1"},
    **{"rotation": "1,-30,30", "elastic": "1,1,2", "low_resolution": "1,0.5,1"},
    "mirror_zyx": "0.5,0.5,0",
}
OPTIONS = (
    *("patch_size_zyx=16,16,16", "filters=4,8,8", "patches_per_dataset=1", "stage_epochs=1,1"),
    *("residence=device", *(f"augmentation.{name}={value}" for name, value in ALWAYS.items())),
)
# Each method, and of the first one what else changes a step.
VARIANTS = (
    *([f"method={name}"] for name in METHODS),
    ["method=marginal", "deep_supervision=true", "accumulation=2", "label_smoothing=0.1"],
    ["method=marginal", "ema_decay=0.9", "optimiser=sgd", "residual=true"],
    ["method=marginal", "residence=disk", "marginal_weight=0"],
    ["method=marginal", "batch_dice=true", "dice_groups=present", "exclusion_ramp=0.5"],
)


class HostWaits(TorchDispatchMode):
    """Note each operation for which the host would wait for the device, or mix it with the CPU."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        there = [t for t in given if t.device.type == self.device.type]
        here = [t for t in given if t.device.type == "cpu" and t.ndim]
        if func in COPIES:
            goes = torch.device(kwargs.get("device") or args[0].device)
            comes = args[1 if func is aten.copy_.default else 0].device
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if goes.type != comes.type and self.device.type in (goes.type, comes.type) and waits:
                self.found.append(f"{func}: {comes.type} to {goes.type}, and waits")
        elif there and (func in READS or _masks(func, args)):
            self.found.append(f"{func}: reads {self.device.type}")
        elif there and here:
            self.found.append(f"{func}: mixes cpu and {self.device.type}")
        return func(*args, **kwargs)


def _masks(func: Any, args: Sequence[Any]) -> bool:
    """Whether an index is a mask, whose number of ones would have to be known."""
    indexed = func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
    return indexed and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Accept a device that is not there."""


class StandIn:
    """A learner and its batches on a device that is not there."""

    def __init__(self, manifest: Manifest, settings: TrainSettings, device: torch.device) -> None:
        self.device = device
        self.plan: TrainingPlan = plan_training(manifest, settings)
        cases = [open_case(manifest, case) for case in self.plan.training]
        self.source = batch_source(cases, self.plan, device)
        candidates = find_candidates(cases, manifest.folder, workers=1)
        self.epoch = plan_epoch(candidates, settings, np.random.default_rng(0))
        fabric = Fabric(
            strategy=SingleDeviceStrategy(device, _Accelerator()),
            precision="bf16-mixed" if device.type == "cuda" else "32-true",
        )
        self.learner: Learner = build_learner(self.plan, fabric)
        self.learner.objective.start_epoch(self.learner.predicting)
        self.learner.wrapped.train()

    def batches(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        return read_batches(self.source, self.epoch)

    def step(self, batch: Batch) -> int:
        """Learn from a batch; return how often the losses were read, which must be once."""
        reads: list[Tensor] = []

        def read(_fabric: Fabric, sums: Tensor) -> list[float]:
            reads.append(sums)
            return [0.0] * len(sums)

        with mock.patch.object(learner_module, "all_reduce_mean", read):
            learn(self.learner, batch, self.plan.settings, share_of_batch=1.0)
        return len(reads)
