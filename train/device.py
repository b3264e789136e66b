"""Device: where the network runs, and in which precision."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from manifests.ground.errors import TrainingError

Precision = Literal["float32", "bfloat16"]


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is a CUDA GPU if there is one, or else the CPU.

    Raises:
        TrainingError: PyTorch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        msg = (
            f"cannot use the device {name!r}: {str(error).splitlines()[0]}; expected auto, cpu, or "
            f"a GPU of this machine such as cuda or cuda:1"
        )
        raise TrainingError(msg) from error
    return device


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; the host does not wait for what a GPU has still to do.

    It would for a copy from ordinary memory, so that the copy is made from pinned memory.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # PyTorch keeps it until the copy is done
    return tensor.to(device, non_blocking=True)


def uses_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether a network of that precision computes in bfloat16 on the device.

    It does on a CUDA GPU and on a CPU with instructions for bfloat16; others would be slow.
    """
    if precision == "float32":
        return False
    return device.type == "cuda" or (
        device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    )


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which a network computes in that precision if the device can."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))


@contextmanager
def full_float32(precision: Precision) -> Generator[None]:
    """Let a network of precision float32 round nothing to TF32, whatever the caller allows.

    By default, PyTorch lets cuDNN's convolutions do so, which leaves 10 bits of a float32's 23.
    """
    if precision != "float32":
        yield
        return
    restore = _round_nothing()
    try:
        yield
    finally:
        restore()


def _round_nothing() -> Callable[[], None]:
    """Forbid TF32; return what allows again what was allowed."""
    backends: Any = torch.backends
    try:
        before = backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        # a caller has used the newer names, and PyTorch 2.9 to 2.13 then refuse the older ones
        on_gpu, on_cpu = (backends.cudnn.conv, backends.cuda.matmul), backends.mkldnn
        places: Sequence[Any] = (*on_gpu, on_cpu.conv, on_cpu.matmul)
        chosen = [place.fp32_precision for place in places]
        _choose(places, ["ieee"] * len(places))
        return lambda: _choose(places, chosen)
    backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")

    def restore() -> None:
        backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])

    return restore


def _choose(places: Sequence[Any], precisions: Sequence[Any]) -> None:
    for place, precision in zip(places, precisions, strict=True):
        place.fp32_precision = precision


@contextmanager
def timed_convolutions() -> Generator[None]:
    """Let cuDNN try its algorithms and take the fastest; sizes must seldom change."""
    # `torch.backends.cudnn.flags` would reset all that the caller has chosen, and that it is not
    # given: whether cuDNN must be deterministic, and whether it may use TF32
    before = torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        torch.backends.cudnn.benchmark = before
