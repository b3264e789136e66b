"""Host memory that costs little to touch for the first time, or is not given back too soon."""

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes, as PyTorch's own allocator gives
_KEPT = 24 << 20  # bytes; glibc learns nothing from blocks above 32 MiB


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
    """Have glibc keep what small tensors free instead of giving it back to the system.

    Else each piece of work touches its memory for the first time again, which took a third of the
    time on two threads. Freeing one large block, which nothing ever touches, raises both of
    glibc's dynamic thresholds (see M_MMAP_THRESHOLD in mallopt(3)); other allocators ignore it.
    """
    torch.empty(_KEPT, dtype=torch.uint8)
