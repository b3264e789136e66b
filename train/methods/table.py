"""Methods: the table of all of them, by their names in the setting `method`."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import nn

from train.losses.label_set import leaf_dice
from train.methods.method import LabelSetObjective, Method
from train.methods.objective import MarginalObjective
from train.methods.rivals import conditional, dodnet, foreground, pann, pipo_fan
from train.networks.network import NetworkSettings
from train.settings import MethodName

# `regular` differs only in the labels that the objective takes
_MARGINAL = Method(objective=MarginalObjective, deep_supervision=True)

METHODS: Mapping[MethodName, Method] = MappingProxyType(
    {
        "marginal": _MARGINAL,
        "regular": _MARGINAL,
        "leaf_dice": Method(objective=lambda *_: LabelSetObjective("leaf_dice", leaf_dice)),
        "pann": pann.METHOD,
        "pipo_fan": pipo_fan.METHOD_2D,
        "pipo_fan_3d": pipo_fan.METHOD_3D,
        "conditional": conditional.METHOD,
        "dodnet": dodnet.METHOD,
        "masked_sigmoid": foreground.METHOD,
    }
)


def new_network(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return the network of a method, with new weights."""
    method = METHODS[settings.method]
    deep_supervision = settings.deep_supervision and method.deep_supervision
    settings = replace(settings, deep_supervision=deep_supervision)
    return method.network(settings, num_classes, seed=seed)
