"""Restoration of networks, optimisers and objectives from a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from manifests.ground.errors import CheckpointError
from train.checkpoints.checkpoint import (
    NETWORK,
    OPTIMISER,
    Checkpoint,
    Which,
    checkpoint_path,
    load_checkpoint,
)
from train.methods.table import new_network
from train.model import Model
from train.networks.network import without_weights

_STEP = "step"  # Adam counts its steps in a scalar


def load_model(run_or_file: Path, *, which: Which = "best") -> Model:
    """Return the network of a run's folder or a checkpoint file, ready to predict on the CPU.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be used.
    """
    checkpoint = load_run(run_or_file, which)
    header = checkpoint.header
    # without memory at first: the header may name any size, and its tensors have to agree with it
    with without_weights():
        network = new_network(header.network, len(header.label_space))
    check_network(checkpoint, network)
    network.to_empty(device="cpu")
    restore_network(checkpoint, network)
    return replace(header.model(network.eval()), learnt=checkpoint.learnt)


def load_run(run_or_file: Path, which: Which = "best") -> Checkpoint:
    """Return the checkpoint of a run's folder, or that of a file.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    is_run = run_or_file.is_dir()
    return load_checkpoint(checkpoint_path(run_or_file, which) if is_run else run_or_file)


def check_network(checkpoint: Checkpoint, network: nn.Module, *, prefix: str = NETWORK) -> None:
    """Refuse a checkpoint whose weights have other names, shapes or types than a network's.

    Raises:
        CheckpointError: They differ.
    """
    expected = {prefix + n: _form(p) for n, p in network.named_parameters()}
    got = {n: _form(t) for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
    _check_forms(checkpoint.path, expected, got)


def restore_network(checkpoint: Checkpoint, network: nn.Module, *, prefix: str = NETWORK) -> None:
    """Copy a checkpoint's parameters of some prefix into a network or an objective.

    Raises:
        CheckpointError: They do not fit, there are none, or they are not finite numbers.
    """
    check_network(checkpoint, network, prefix=prefix)
    names = [prefix + name for name, _ in network.named_parameters()]
    if wrong := [n for n in names if not checkpoint.tensors[n].isfinite().all()]:
        msg = (
            f"{checkpoint.path}: expected weights that are finite numbers, got NaN or infinity in "
            f"{len(wrong)} of {len(names)} tensors, the first {wrong[0]}: the training diverged; "
            f"use another checkpoint of the run, or train again with a lower learning rate"
        )
        raise CheckpointError(msg)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(checkpoint.tensors[prefix + name])


def restore_optimiser(
    checkpoint: Checkpoint, optimiser: optim.Optimizer, network: nn.Module
) -> None:
    """Copy a checkpoint's momenta into an optimiser of `network`.

    Raises:
        CheckpointError: They do not fit.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(OPTIMISER):
            owner, _, what = name.removeprefix(OPTIMISER).rpartition("/")
            states.setdefault(owner, {})[what] = tensor
    parameters = dict(network.named_parameters())
    got = {f"{name}/{w}": _form(t) for name, state in states.items() for w, t in state.items()}
    expected = {
        f"{name}/{what}": ((), torch.float32) if what == _STEP else _form(parameter)
        for name, parameter in parameters.items()
        for what in states.get(name, {})
    }
    _check_forms(checkpoint.path, expected, got)
    # in the order of the parameters, which is how an optimiser names them
    saved: dict[str, Any] = optimiser.state_dict()
    saved["state"] = {
        index: {
            # in the memory layout of the parameter: in another, sums may round differently
            what: torch.empty_like(parameter).copy_(tensor) if tensor.ndim else tensor
            for what, tensor in states[name].items()
        }
        for index, (name, parameter) in enumerate(parameters.items())
        if name in states
    }
    optimiser.load_state_dict(saved)


def _form(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _check_forms(path: Path, expected: dict[str, Any], got: dict[str, Any]) -> None:
    wrong = sorted(n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n))
    if wrong:
        first = wrong[0]
        msg = (
            f"{path}: {len(wrong)} tensors do not fit the network that its settings describe; "
            f"{first}: expected {expected.get(first, 'none')}, got {got.get(first, 'none')}; "
            f"use another checkpoint of the run"
        )
        raise CheckpointError(msg)
