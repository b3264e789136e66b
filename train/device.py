"""Device: where the network runs, and in which precision."""

from typing import Literal

import torch

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
