"""Chunks of a batch, so small that what is computed from one stays in the CPU's cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_ELEMENTS = 3 << 17  # logits of a chunk on a CPU: 1.5 MiB in float32
_ALIGNMENT = 64  # bytes, as PyTorch's own allocator gives
_KEPT = 24 << 20  # bytes; glibc learns nothing from blocks above 32 MiB

Result = TypeVar("Result")


@dataclass(frozen=True)
class Chunk:
    """Some of the voxels of one sample; samples of several levels are counted through.

    Attributes:
        sample: Its number.
        voxels: Which of its voxels.
        is_small_sample: Whether they are all, and few enough for the cache.
    """

    sample: int
    voxels: slice
    is_small_sample: bool


def split_into_chunks(levels: Sequence[Tensor]) -> list[Chunk]:
    """Split logits [batch, classes, voxels] into chunks: small on a CPU, else whole samples.

    The number of threads makes no difference, so that sums over chunks do not depend on it.
    """
    chunks: list[Chunk] = []
    for level, logits in enumerate(levels):
        batch, classes, voxels = logits.shape
        on_cpu = logits.device.type == "cpu"
        step = max(1, _ELEMENTS // classes) if on_cpu else voxels
        small = on_cpu and voxels <= step
        chunks += [
            Chunk(level * batch + sample, slice(first, min(first + step, voxels)), small)
            for sample in range(batch)
            for first in range(0, voxels, step)
        ]
    return chunks


def map_chunks(
    chunks: Sequence[Chunk], work: Callable[[Chunk], Result], device: torch.device
) -> list[Result]:
    """Return the results of the work on every chunk, in order, on all of PyTorch's threads.

    Neither gradients nor autocast reach into the work.
    """

    def exactly(chunk: Chunk) -> Result:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return work(chunk)

    keep_freed_memory()
    threads = min(torch.get_num_threads(), len(chunks))
    if device.type != "cpu" or threads == 1:
        return [exactly(chunk) for chunk in chunks]
    # a thread per chunk: with all threads on each small step, they would wait for each other
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(exactly, chunks))
    finally:
        torch.set_num_threads(before)


def empty_like(tensor: Tensor) -> Tensor:
    """Return what `torch.empty_like` does, on a CPU in huge pages where the system has them.

    NumPy asks Linux for huge pages and PyTorch does not: the 80 MiB gradient of the paper's patch
    was touched for the first time in a quarter of the time.
    """
    if tensor.device.type != "cpu":
        return torch.empty_like(tensor)
    strides = torch.empty_like(tensor, device="meta").stride()
    size = tensor.numel() * tensor.element_size()
    memory = torch.from_numpy(np.empty(size + _ALIGNMENT, np.uint8))
    first = -memory.data_ptr() % _ALIGNMENT
    flat = memory[first : first + size].view(tensor.dtype)
    return flat.as_strided(tensor.shape, strides, flat.storage_offset())


def keep_freed_memory() -> None:
    """Make glibc keep the memory of freed small tensors instead of returning it to the system.

    Otherwise each chunk touches its memory for the first time again, which took a third of the time
    on two threads. Freeing one large block raises both of glibc's dynamic thresholds (see
    M_MMAP_THRESHOLD in mallopt(3)); other allocators ignore it.
    """
    torch.empty(_KEPT, dtype=torch.uint8)
