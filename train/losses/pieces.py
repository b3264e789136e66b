"""Pieces of a batch, worked on one at a time so that what is made of them stays in cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from train.losses.host_memory import keep_freed_memory

_ELEMENTS = 3 << 17  # logits of a piece on a CPU: 1.5 MiB in float32

Result = TypeVar("Result")


@dataclass(frozen=True)
class Piece:
    """Some of the voxels of one sample."""

    sample: int
    voxels: slice


def cut(logits: Tensor) -> list[Piece]:
    """Cut logits [batch, classes, voxels] into pieces: small on a CPU, else whole samples.

    How many threads there are makes no difference, so that sums over pieces do not depend on it.
    """
    batch, classes, voxels = logits.shape
    step = max(1, _ELEMENTS // classes) if logits.device.type == "cpu" else voxels
    return [
        Piece(sample, slice(first, min(first + step, voxels)))
        for sample in range(batch)
        for first in range(0, voxels, step)
    ]


def work_through(
    pieces: Sequence[Piece], work: Callable[[Piece], Result], device: torch.device
) -> list[Result]:
    """Do the work on every piece, on all of PyTorch's threads, and return the results in order.

    Neither gradients nor autocast reach into the work.
    """

    def exactly(piece: Piece) -> Result:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return work(piece)

    keep_freed_memory()
    threads = min(torch.get_num_threads(), len(pieces))
    if device.type != "cpu" or threads == 1:
        return [exactly(piece) for piece in pieces]
    # a thread per piece: with all threads on each small step, they would wait for each other
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(exactly, pieces))
    finally:
        torch.set_num_threads(before)
