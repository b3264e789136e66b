"""PIPO-FAN in 3-D: the same with the kernels and strides of our own network."""

from torch import nn

from train.methods.method import Method
from train.methods.rivals import pipo_fan
from train.methods.rivals.pyramid import PyramidNet
from train.networks.network import (
    NetworkSettings,
    PaddedUNet,
    drawn_weights,
    plan_levels,
    total_strides,
)


def build(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """A network of volumes.

    Raises:
        TrainingError: The patch is too small for three levels.
    """
    levels = plan_levels(settings)
    with drawn_weights(seed):
        network = PyramidNet(settings.filters[: len(levels)], levels, 1, num_classes)
    return PaddedUNet(network, total_strides(levels))


METHOD = Method(objective=pipo_fan.METHOD.objective, network=build)
