"""Learner: a network, what makes it learn, and the processes that share the work."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from manifests.ground.errors import TrainingError
from train.methods.method import Objective
from train.methods.table import METHODS, new_network
from train.networks.network import for_device
from train.patches.sampler import Batch
from train.planning.plan import TrainingPlan
from train.settings import TrainSettings
from train.training.optimiser import build_optimiser
from train.training.processes import all_reduce_mean, average_gradients, part_bounds


@dataclass(frozen=True)
class Learner:
    """What changes while a training runs.

    Attributes:
        network: The weights that learn; without any wrapping, so that names and memory stay plain.
        wrapped: The same network as its processes and precision want it called.
        optimiser: Of those weights.
        objective: What they learn from, and what it remembers.
        average: The moving average of the weights, if there is one.
        fabric: The processes.
    """

    network: nn.Module
    wrapped: _FabricModule
    optimiser: optim.Optimizer
    objective: Objective
    average: AveragedModel | None
    fabric: Fabric

    @property
    def predicting(self) -> nn.Module:
        """The weights to predict with: the average where there is one."""
        return self.average.module if self.average else self.network


def build_learner(plan: TrainingPlan, fabric: Fabric) -> Learner:
    """A learner with new weights, the same in every process."""
    settings = plan.settings
    network = new_network(plan.network, len(plan.label_space), seed=settings.seed)
    network = for_device(network, fabric.device)
    average = None
    if settings.ema_decay is not None:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    objective = METHODS[settings.method].objective(settings, plan.training, network)
    objective.to(fabric.device)
    optimiser = build_optimiser(network, settings)
    called = cast("nn.Module", torch.compile(network)) if settings.compile else network
    wrapped, _ = fabric.setup(called, optimiser)  # the optimiser's state stays where it is
    return Learner(network, wrapped, optimiser, objective, average, fabric)


@dataclass(frozen=True)
class BatchLosses:
    """What a batch cost.

    Attributes:
        total: The weighted sum, which was learnt from.
        terms: Each of the objective's terms, not weighted; 0 where it was left out.
    """

    total: float
    terms: tuple[float, ...]


def learn(
    learner: Learner, batch: Batch, settings: TrainSettings, *, share_of_batch: float
) -> BatchLosses:
    """Learn from one batch, of which each process has some patches.

    Args:
        learner: Its weights change, unless the loss is not finite.
        batch: This process's patches.
        settings: The training's.
        share_of_batch: How many of the batch's patches these are; 1 if there is one process.

    Returns:
        The losses of the whole batch.

    Raises:
        TrainingError: The device's memory is too small.
    """
    try:
        losses = _backward(learner, batch, settings, share_of_batch)
    except torch.cuda.OutOfMemoryError as error:
        msg = (
            f"out of memory on {learner.fabric.device} with {settings.batch_size} patches of "
            f"{settings.patch_size_zyx} voxels (z, y, x): {str(error).splitlines()[0]} Set "
            f"accumulation={2 * settings.accumulation} to resume with less memory and the same "
            f"result, or begin in another folder with a smaller patch_size_zyx"
        )
        raise TrainingError(msg) from error
    if math.isfinite(losses.total):
        if settings.gradient_norm is not None:
            nn.utils.clip_grad_norm_(learner.network.parameters(), settings.gradient_norm)
        learner.optimiser.step()
        learner.objective.step()
        if learner.average:
            learner.average.update_parameters(learner.network)
    return losses


def _backward(
    learner: Learner, batch: Batch, settings: TrainSettings, share_of_batch: float
) -> BatchLosses:
    """Gradients of the whole batch's loss, and its losses, in every process."""
    fabric, objective, count = learner.fabric, learner.objective, len(batch.case_ids)
    learner.optimiser.zero_grad()
    objective.zero_grad()
    sums = torch.zeros(1 + len(objective.terms), device=fabric.device)
    for part in range(settings.accumulation):
        start, stop = part_bounds(count, part, settings.accumulation)
        if start == stop:
            continue  # never the last one
        is_last = part == settings.accumulation - 1
        patches = batch.part(start, stop)
        with fabric.no_backward_sync(learner.wrapped, enabled=not is_last):
            loss, terms = objective.loss(learner.wrapped, patches)
            # gradients are averaged over processes: one with more patches counts for more
            weight = (stop - start) / count * share_of_batch * fabric.world_size
            fabric.backward(loss * weight)
        told = [loss, *(terms.get(name, loss.new_zeros(())) for name in objective.terms)]
        sums += torch.stack(told).detach() * weight
    average_gradients(fabric, objective)
    total, *rest = all_reduce_mean(fabric, sums)
    return BatchLosses(total, tuple(rest))
