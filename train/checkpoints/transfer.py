"""Transfer of weights from a trained network to a new one, also of other classes.

Tensors that do not depend on the number of classes are taken whole. Of those that do, as the last
convolution's, the rows of the classes that both networks know are taken, by name. A new class
begins as a share of the class that held it so far, most often the background: with two classes in
the place of one, both have its row, and the logarithm of 2 less as their bias. So the new network's
probabilities sum up to those of the other, and what that had learnt is not disturbed by a class
that says anything at random.

Source: Cermelli et al. 2020, "Modeling the background for incremental learning in semantic
segmentation", section 3.3, for the background.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manifests.classes.label_space import LabelSpace
from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import NETWORK, Checkpoint
from train.methods.table import METHODS, new_network
from train.networks.network import NetworkSettings

MOST_NAMED = 5  # tensors


@dataclass(frozen=True)
class Transfer:
    """What a new network took from a checkpoint.

    Attributes:
        whole: Tensors that were taken as they are.
        by_class: Tensors of which the rows of known classes were taken.
        left: Tensors that keep their new weights, each with the reason.
        known: Classes that both networks have; `new` are those of the new network only, `gone`
            those of the other only.
    """

    whole: tuple[str, ...]
    by_class: tuple[str, ...]
    left: Mapping[str, str]
    known: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say what was taken and what was not."""
        count = len(self.whole) + len(self.by_class)
        lines = [
            f"weights taken: {count} of {count + len(self.left)} tensors, {len(self.by_class)} of "
            f"them by class; classes taken: {', '.join(self.known)}"
        ]
        if self.new:
            lines.append(f"classes that are new, and begin as shares: {', '.join(self.new)}")
        if self.gone:
            lines.append(f"classes that only the other run has: {', '.join(self.gone)}")
        lines += [f"not taken: {name}: {why}" for name, why in [*self.left.items()][:MOST_NAMED]]
        if len(self.left) > MOST_NAMED:
            lines.append(f"not taken: {len(self.left) - MOST_NAMED} more tensors")
        return lines


def transfer_weights(
    checkpoint: Checkpoint, network: nn.Module, settings: NetworkSettings, space: LabelSpace
) -> Transfer:
    """Copy into a new network what a checkpoint's has in common with it.

    Args:
        checkpoint: Of the other training.
        network: The new network.
        settings: Its architecture.
        space: Its classes.

    Raises:
        TrainingError: Nothing fits, the checkpoint's weights are not finite numbers, or both
            networks are told classes as numbers, which are not the same.
    """
    theirs = checkpoint.header.label_space.names
    _require_same_numbers(checkpoint, settings, space)
    pairs = dict(_pairs(space, checkpoint.header.label_space))
    class_rows = _class_rows(settings, len(space))
    found: dict[str, list[str]] = {"whole": [], "by_class": []}
    left: dict[str, str] = {}
    for name, parameter in network.named_parameters():
        tensor = checkpoint.tensors.get(NETWORK + name)
        if tensor is not None and not tensor.isfinite().all():
            msg = f"{checkpoint.path}: {name} holds NaN or infinity: the training diverged"
            raise TrainingError(msg)
        rows = class_rows.get(name)
        how = _how(parameter, tensor, rows, len(space) - len(theirs))
        if tensor is None or how not in found:
            left[name] = how
            continue
        found[how].append(name)
        with torch.no_grad():
            _copy(parameter, tensor, rows, pairs)
    if not found["whole"]:
        msg = (
            f"{checkpoint.path} has no weights for this network: expected the same method, filters "
            f"and kernels; {next(iter(left.items()), '')}; take that run's preset and settings"
        )
        raise TrainingError(msg)
    return Transfer(
        tuple(found["whole"]),
        tuple(found["by_class"]),
        left,
        known=tuple(name for name in space.names if name in theirs),
        new=tuple(name for name in space.names if name not in theirs),
        gone=tuple(name for name in theirs if name not in space.names),
    )


def _require_same_numbers(
    checkpoint: Checkpoint, settings: NetworkSettings, space: LabelSpace
) -> None:
    """Refuse other classes, or another order, where both networks are told a class as a number."""
    method, theirs = checkpoint.header.settings.method, checkpoint.header.label_space.names
    told = method == settings.method and METHODS[method].class_as_number
    if told and theirs != space.names:
        msg = (
            f"{checkpoint.path}: a network of the method {method} is told a class as a number, so "
            f"that its weights are right for its own classes alone: expected "
            f"{', '.join(theirs[1:])}, got {', '.join(space.names[1:])}; prepare with that label "
            f"space, leave out --init, or use a method such as marginal"
        )
        raise TrainingError(msg)


def _pairs(space: LabelSpace, theirs: LabelSpace) -> Iterator[tuple[int, int]]:
    """Yield our class ids, each with that of the class that it was, or that it was a part of."""
    for n, name in enumerate(space.names):
        if name in theirs.names:
            yield n, theirs.names.index(name)
        else:
            yield n, theirs.class_of.get(space.classes[n - 1].structures[0], 0)


@dataclass(frozen=True)
class _Rows:
    """Where a parameter has one row for each class.

    Attributes:
        first: The class of row 0: the background, or 1 in a network without a row for it.
    """

    axis: int
    first: int


def _class_rows(settings: NetworkSettings, num_classes: int) -> dict[str, _Rows]:
    """Return, by name, where parameters have one row for each class.

    It is along the axis that is one longer in a network of one class more.
    """
    with torch.device("meta"):
        few, more = (
            dict(new_network(settings, n).named_parameters())
            for n in (num_classes, num_classes + 1)
        )
    return {
        name: _Rows(axis, num_classes - n)
        for name, parameter in few.items()
        for axis, n in enumerate(parameter.shape)
        if more[name].shape[axis] == n + 1
    }


def _how(parameter: Tensor, tensor: Tensor | None, rows: _Rows | None, more_classes: int) -> str:
    """Return how a parameter is taken, `whole` or `by_class`, or why it is not."""
    if tensor is None:
        return "the other network has no such weights"
    expected = list(parameter.shape)
    if rows:
        expected[rows.axis] -= more_classes
    if list(tensor.shape) != expected or tensor.dtype != parameter.dtype:
        return f"expected {tuple(expected)}, got {tuple(tensor.shape)}"
    if rows and rows.first not in (0, 1):  # mixed with rows of another kind
        return "whole" if not more_classes else "its rows are not those of classes alone"
    return "by_class" if rows else "whole"


def _copy(parameter: Tensor, tensor: Tensor, rows: _Rows | None, pairs: Mapping[int, int]) -> None:
    """Copy a tensor whole, or the rows of classes, given as our ids with theirs."""
    if rows is None or rows.first not in (0, 1):
        parameter.copy_(tensor)
        return
    shares = Counter(pairs.values())
    for ours, theirs in pairs.items():
        if min(ours, theirs) >= rows.first:
            row = tensor.select(rows.axis, theirs - rows.first)
            is_bias = parameter.ndim == 1
            share = math.log(shares[theirs]) if is_bias else 0.0
            parameter.select(rows.axis, ours - rows.first).copy_(row - share)
