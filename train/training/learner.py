"""Learner: a network, its optimiser and objective, and one training step."""

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
from train.training.processes import all_reduce_mean, average_gradients, part_bounds


@dataclass(frozen=True)
class Learner:
    """What changes while a training runs.

    Attributes:
        network: Without wrappers, so that its parameters have their own names.
        wrapped: The same network as Fabric and torch.compile wrap it; this one is called.
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
        """Return the network to predict with: the average if there is one."""
        return self.average.module if self.average else self.network


def build_learner(plan: TrainingPlan, fabric: Fabric) -> Learner:
    """Return a learner with new weights, the same in every process."""
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


def build_optimiser(network: nn.Module, settings: TrainSettings) -> optim.Optimizer:
    """Return Adam, or stochastic gradient descent with Nesterov momentum."""
    weights, rate, decay = network.parameters(), settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adam":
        return optim.Adam(weights, rate, weight_decay=decay)
    momentum, nesterov = settings.momentum, settings.momentum > 0
    return optim.SGD(weights, rate, momentum, weight_decay=decay, nesterov=nesterov)


def learn(
    learner: Learner, batch: Batch, settings: TrainSettings, *, share_of_batch: float
) -> tuple[float, ...]:
    """Learn from one batch, unless its loss is not finite.

    `batch` holds this process's patches, the fraction `share_of_batch` of the whole batch.

    Returns:
        The loss of the whole batch, and the objective's terms, not weighted; 0 for those left out.

    Raises:
        TrainingError: The device's memory is too small.
    """
    try:
        losses = _backward(learner, batch, settings, share_of_batch)
    except torch.cuda.OutOfMemoryError as error:
        patches = len(batch.case_ids)
        at_once = math.ceil(patches / settings.accumulation)
        parts = min(2 * settings.accumulation, patches)
        advice = f"set accumulation={parts} to resume with less memory and the same result, or "
        msg = (
            f"out of memory on {learner.fabric.device} with {at_once} patches at once of "
            f"{settings.patch_size_zyx} voxels (z, y, x): {str(error).splitlines()[0]}; "
            f"{advice if at_once > 1 else ''}begin in another folder with a smaller patch_size_zyx"
        )
        raise TrainingError(msg) from error
    if math.isfinite(losses[0]):
        if settings.gradient_norm is not None:
            nn.utils.clip_grad_norm_(learner.network.parameters(), settings.gradient_norm)
        learner.optimiser.step()
        learner.objective.step()
        if learner.average:
            _update_average(learner.average, learner.network)
    return losses


def _update_average(average: AveragedModel, network: nn.Module) -> None:
    """Take a step of the weights' moving average; the first is a copy of the weights."""
    if not average.n_averaged or average.multi_avg_fn is None:
        average.update_parameters(network)
        return
    # in that method the host waits for a GPU at each step, to copy the number of steps there
    average.multi_avg_fn(
        tuple(average.parameters()), tuple(network.parameters()), average.n_averaged
    )


def _backward(
    learner: Learner, batch: Batch, settings: TrainSettings, share_of_batch: float
) -> tuple[float, ...]:
    """Compute the gradients and return the losses of the whole batch, in every process."""
    fabric, objective, count = learner.fabric, learner.objective, len(batch.case_ids)
    learner.optimiser.zero_grad()
    objective.zero_grad()
    sums = torch.zeros(1 + len(objective.terms), device=fabric.device)
    for part in range(settings.accumulation):
        start, stop = part_bounds(count, part, settings.accumulation)
        if start == stop:
            continue  # the last part is never empty
        is_last = part == settings.accumulation - 1
        patches = batch.part(start, stop)
        with fabric.no_backward_sync(learner.wrapped, enabled=not is_last):
            loss, terms = objective.loss(learner.wrapped, patches)
            # Fabric averages gradients over processes, whatever their number of patches
            weight = (stop - start) / count * share_of_batch * fabric.world_size
            fabric.backward(loss * weight)
        values = [loss, *(terms.get(name, loss.new_zeros(())) for name in objective.terms)]
        sums += torch.stack(values).detach() * weight
    average_gradients(fabric, objective)
    return tuple(all_reduce_mean(fabric, sums))
