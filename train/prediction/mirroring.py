"""Mirroring at test time: a network's mean answer over mirror images of its input."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import torch

from manifests.ground.errors import TrainingError
from train.laterality import mirrored_classes
from train.model import Model
from train.shapes import Images, Logits

Mirror = Literal["none", "trained", "in-plane"]

Y, X = 1, 2  # of the axes z, y, x
_FIRST_SPACE = 2  # of the axes of a batch


def mirror_axes(model: Model, mirror: Mirror) -> tuple[int, ...]:
    """Choose the axes (0 is z, 1 is y, 2 is x) along which to mirror.

    Raises:
        TrainingError: The network was trained on no mirror images, or a class has no counterpart on
            the other side.
    """
    if mirror == "trained" and not model.mirrored_axes:
        msg = (
            "the network was trained on no mirror images (augmentation.mirror_zyx is 0), and will "
            "not know any; predict without --mirror, or insist with --mirror in-plane"
        )
        raise TrainingError(msg)
    axes = {"none": (), "trained": model.mirrored_axes, "in-plane": (Y, X)}[mirror]
    if X in axes:
        mirrored_classes(model.label_space)
    return axes


def mirrored_mean(model: Model, axes: Sequence[int]) -> Callable[[Images], Logits]:
    """Return a function from windows to probabilities, the mean over all mirror images.

    What it returns may be overwritten by its next call. In a mirror image along x, which is left
    and right, the left kidney looks like a right one: the channels of left and right classes are
    swapped back.

    Args:
        model: The network, in evaluation mode.
        axes: 0 for z, 1 for y, 2 for x; k axes take 2^k times the time.
    """
    # the image itself comes first
    flips = [f for n in range(len(axes) + 1) for f in combinations(axes, n)]
    swapped = list(mirrored_classes(model.label_space)) if X in axes else []
    softmax = _Softmax()

    def probabilities(windows: Images) -> Logits:
        probs = softmax(model.network(windows))
        if len(flips) == 1:
            return probs
        total = probs.clone()
        for flip in flips[1:]:
            dims = [_FIRST_SPACE + axis for axis in flip]
            seen = softmax(model.network(windows.flip(dims))).flip(dims)
            total += seen[:, swapped] if X in flip else seen
        return total / len(flips)

    return probabilities


class _Softmax:
    """Softmax in float32, always in the same memory: touching new memory took twice the time."""

    def __init__(self) -> None:
        self.room = torch.empty(0)

    def __call__(self, logits: Logits) -> Logits:
        """The result holds until the next call; contiguous, whatever the network's layout."""
        if self.room.shape != logits.shape or self.room.device != logits.device:
            self.room = torch.empty(logits.shape, device=logits.device)
        if logits.is_contiguous() and logits.dtype == self.room.dtype:
            return torch.softmax(logits, 1, out=self.room)
        return torch.softmax(self.room.copy_(logits), 1, out=self.room)
