"""Time the total loss, forward and backward, beside MONAI's DiceCELoss and PyTorch's cross-entropy.

    python tests/benchmarks/loss.py [--small] [--device cuda]

The peers take full labels only; the marginalia rows get a batch of a full and a partial label.
"Saved" is what a loss keeps for its backward pass, without the logits themselves.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor
from torch.nn import functional

from train.losses import MarginalExclusionLoss

PAPER_PATCH = (48, 190, 190)  # z, y, x
SMALL_PATCH = (24, 96, 96)
FULL_AND_LIVER_ONLY = [[0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 0, 0]]

Loss = Callable[[Tensor], Tensor]


def losses(full: Tensor, merged: Tensor) -> dict[str, Loss]:
    """Each loss by its name, as a function of the logits."""
    partial = merged.gather(1, full.flatten(1)).view_as(full)
    total = MarginalExclusionLoss()
    marginal = MarginalExclusionLoss(exclusion_weight=0.0)
    monai = DiceCELoss(softmax=True, to_onehot_y=True)
    return {
        "marginalia, four terms": lambda logits: total(logits, partial, merged),
        "marginalia, marginal terms": lambda logits: marginal(logits, partial, merged),
        "MONAI DiceCELoss": lambda logits: monai(logits, full[:, None]),
        "torch cross_entropy": lambda logits: functional.cross_entropy(logits, full),
    }


def seconds(loss: Loss, logits: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    leaf = logits.clone().requires_grad_()
    synchronize(leaf.device)
    start = time.perf_counter()
    loss(leaf).backward()
    synchronize(leaf.device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def saved_mib(loss: Loss, logits: Tensor) -> float:
    """Memory that the loss keeps from its forward pass for its backward pass."""
    storages: dict[int, int] = {}
    kept: list[Tensor] = []  # alive, so that no two share an address

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(leaf)
    storages.pop(leaf.untyped_storage().data_ptr(), None)
    return sum(storages.values()) / 2**20


def main() -> None:
    """Print one row per loss."""
    parser = argparse.ArgumentParser(description="Time the losses beside their peers.")
    parser.add_argument("--small", action="store_true", help=f"patch {SMALL_PATCH}")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()

    torch.manual_seed(0)
    merged = torch.tensor(FULL_AND_LIVER_ONLY, device=options.device)
    space = SMALL_PATCH if options.small else PAPER_PATCH
    logits = torch.randn(*merged.shape, *space, device=options.device)
    target = torch.randint(merged.shape[1], (len(merged), *space), device=options.device)

    peers = losses(target, merged)
    saved = {name: saved_mib(loss, logits) for name, loss in peers.items()}  # warms up, too
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.repeats):  # in turns, so that a busy moment hits all alike
        for name, loss in peers.items():
            times[name].append(seconds(loss, logits))
    median = {name: statistics.median(values) for name, values in times.items()}

    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    sys.stdout.write(
        f"logits {tuple(logits.shape)} {logits.dtype}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median of {options.repeats}\n\n"
        f"{'forward + backward':28}{'seconds':>10}{'/ MONAI':>10}{'saved, MiB':>12}\n"
    )
    for name, value in median.items():
        ratio = value / median["MONAI DiceCELoss"]
        sys.stdout.write(f"{name:28}{value:10.4f}{ratio:10.2f}{saved[name]:12.0f}\n")


if __name__ == "__main__":
    main()
