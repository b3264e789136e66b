"""Methods: the table of all of them, by the name that the setting `method` has for each."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import nn

from train.methods.method import Method
from train.methods.objective import MarginalObjective
from train.methods.rivals import (
    conditional,
    dodnet,
    leaf_dice,
    masked_sigmoid,
    pann,
    pipo_fan,
    pipo_fan_3d,
)
from train.networks.network import NetworkSettings
from train.settings import MethodName

# `regular` reads other labels, and that is all
_LABELS = Method(objective=MarginalObjective, deep_supervision=True)

METHODS: Mapping[MethodName, Method] = MappingProxyType(
    {
        "marginal": _LABELS,
        "regular": _LABELS,
        "leaf_dice": leaf_dice.METHOD,
        "pann": pann.METHOD,
        "pipo_fan": pipo_fan.METHOD,
        "pipo_fan_3d": pipo_fan_3d.METHOD,
        "conditional": conditional.METHOD,
        "dodnet": dodnet.METHOD,
        "masked_sigmoid": masked_sigmoid.METHOD,
    }
)


def new_network(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """The network of a method, with new weights."""
    method = METHODS[settings.method]
    supervised = settings.deep_supervision and method.deep_supervision
    form = replace(settings, deep_supervision=supervised)
    return method.network(form, num_classes, seed=seed)
