"""Processes: one training on several devices and machines, started by lightning-fabric."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor, distributed, nn

from manifests.ground.errors import TrainingError
from train.device import pick_device, uses_bfloat16
from train.settings import TrainSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """How many processes train together: the devices of each machine, and the machines."""

    devices: int = 1
    nodes: int = 1

    @property
    def count(self) -> int:
        """Return the number of processes."""
        return self.devices * self.nodes


def start_processes(settings: TrainSettings, processes: Processes) -> Fabric:
    """Start the processes of a training, or join those that torchrun or SLURM has started.

    Every process runs the same code from here on.

    Raises:
        TrainingError: The device does not exist, or there are fewer devices than asked for, or
            fewer patches in a batch than processes.
    """
    if processes.count > settings.batch_size:
        msg = (
            f"{processes.count} processes cannot share batches of {settings.batch_size} patches; "
            f"set batch_size to {processes.count} or more"
        )
        raise TrainingError(msg)
    device = pick_device(settings.device)
    if device.type == "cuda" and processes.devices > torch.cuda.device_count():
        msg = f"asked for {processes.devices} GPUs, this machine has {torch.cuda.device_count()}"
        raise TrainingError(msg)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the plan is printed instead
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index] if device.index is not None else processes.devices,
        num_nodes=processes.nodes,
        strategy="ddp" if processes.count > 1 else "auto",
        precision="bf16-mixed" if uses_bfloat16(settings.precision, device) else "32-true",
    )
    fabric.launch()
    return fabric


def is_rank_zero() -> bool:
    """Return whether this process writes files and prints; also before the others are started."""
    return getattr(rank_zero_only, "rank", 0) == 0


def part_bounds(count: int, part: int, parts: int) -> tuple[int, int]:
    """Return where one part of `count` items begins and ends; parts differ by one at most."""
    return count * part // parts, count * (part + 1) // parts


def shard(items: Sequence[T], fabric: Fabric) -> Sequence[T]:
    """Return this process's part of the items."""
    start, stop = part_bounds(len(items), fabric.global_rank, fabric.world_size)
    return items[start:stop]


def shard_batch(batch: Sequence[T], fabric: Fabric) -> tuple[Sequence[T], float]:
    """Return this process's part of a batch, and its fraction of the batch.

    All processes must take part in each step: one without a part gets an item with fraction 0.
    """
    mine = shard(batch, fabric)
    return (mine, len(mine) / len(batch)) if mine else (batch[:1], 0.0)


def all_gather(fabric: Fabric, mine: list[T]) -> list[T]:
    """Return the items of every process, in the order of the processes; all must call it."""
    if fabric.world_size == 1:
        return mine
    lists: list[list[T]] = [[] for _ in range(fabric.world_size)]
    distributed.all_gather_object(lists, mine)
    return [item for one in lists for item in one]


def all_reduce_mean(fabric: Fabric, values: Tensor) -> list[float]:
    """Return the means of numbers over the processes; all must call it."""
    total = values.clone()
    if fabric.world_size > 1:
        distributed.all_reduce(total)
    return (total / fabric.world_size).tolist()


def average_gradients(fabric: Fabric, module: nn.Module) -> None:
    """Replace each process's gradients by the mean over processes; all must call it."""
    for parameter in module.parameters():
        if fabric.world_size > 1 and parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= fabric.world_size


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Return whether a flag is set in any process; all must call it."""
    if fabric.world_size == 1:
        return flag  # called at every step: avoids a copy to the device and back
    return all_reduce_mean(fabric, torch.tensor([float(flag)], device=fabric.device))[0] > 0
