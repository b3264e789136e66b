"""Device: where the network runs."""

import torch

from manifests.errors import TrainingError


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is a CUDA GPU where there is one, and the CPU elsewhere.

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
