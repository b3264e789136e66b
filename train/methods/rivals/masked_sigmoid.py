"""Masked sigmoid: one sigmoid a class, and a loss of those classes only that a case annotates.

Source: MultiTalent, Ulrich et al., MICCAI 2023.
"""

from torch import nn

from train.methods.method import Method
from train.methods.rivals.foreground import ForegroundNetwork, ForegroundObjective, check_classes
from train.networks.network import NetworkSettings, build_network


def build(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Our own network with an output less."""
    return ForegroundNetwork(build_network(settings, num_classes - 1, seed=seed))


METHOD = Method(objective=ForegroundObjective, network=build, check=check_classes)
