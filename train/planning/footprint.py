"""Footprint: the memory and time of a training step, estimated before the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from train.methods.table import new_network
from train.networks.network import NetworkSettings, without_weights

_FLOAT_BYTES = 4
_STATES = {"adam": 2, "sgd": 1}  # tensors that the optimiser keeps for each weight


@dataclass(frozen=True)
class Footprint:
    """What one step of training needs.

    Attributes:
        flops: Floating-point operations, forward and backward.
        weight_bytes: Weights, gradients and the optimiser's state.
        activation_bytes: Tensors that the forward pass saves for the backward pass, and the loss's.
    """

    parameters: int
    flops: int
    weight_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return the peak memory of a step, without that of the libraries."""
        return self.weight_bytes + self.activation_bytes


@cache
def footprint(
    network: NetworkSettings, num_classes: int, *, batch_size: int, optimiser: str, half: bool
) -> Footprint:
    """Trace a step without computing it: tensors on the meta device have shapes and no memory.

    `batch_size` patches go through the network at once; with `half`, activations have 16 bits.
    """
    with without_weights():
        net = new_network(network, num_classes)
        images = torch.empty(batch_size, 1, *network.patch_size_zyx)
    kept: dict[int, Tensor] = {}  # one tensor may be kept by several operations

    def keep(tensor: Tensor) -> Tensor:
        kept[id(tensor)] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda t: t):
        logits = _backward(net(images))
    weights = {id(p) for p in net.parameters()}
    activations = sum(t.numel() for t in kept.values() if id(t) not in weights)
    parameters = sum(p.numel() for p in net.parameters())
    return Footprint(
        parameters=parameters,
        flops=counter.get_total_flops(),
        weight_bytes=parameters * _FLOAT_BYTES * (2 + _STATES[optimiser]),
        activation_bytes=activations * (_FLOAT_BYTES // 2 if half else _FLOAT_BYTES)
        + 2 * logits.numel() * _FLOAT_BYTES,  # probabilities, and their gradient
    )


def _backward(logits: Tensor | Sequence[Tensor]) -> Tensor:
    """Run the backward pass; return the logits at full resolution."""
    levels = [logits] if isinstance(logits, Tensor) else logits
    torch.stack([level.sum() for level in levels]).sum().backward()
    return levels[0]
