"""Optimiser: what turns gradients into steps."""

from torch import nn, optim

from train.settings import TrainSettings


def build_optimiser(network: nn.Module, settings: TrainSettings) -> optim.Optimizer:
    """Adam, or stochastic gradient descent with Nesterov momentum."""
    if settings.optimiser == "adam":
        return optim.Adam(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
    return optim.SGD(
        network.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
    )


def set_learning_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """Have an optimiser step at `rate` from now on."""
    for group in optimiser.param_groups:
        group["lr"] = rate
