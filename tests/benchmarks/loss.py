"""Time and memory of the losses, forward and backward, beside nnU-Net's, MONAI's and PyTorch's.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/loss.py [--channels-last] [--device cuda]

All take turns in one process. The peers take full labels only; the marginalia rows get a batch of
a full and a partial label. nnU-Net's loss is its trainer's, `DC_and_CE_loss` with
`MemoryEfficientSoftDiceLoss`; without `nnunetv2` its row is left out. Peak memory is what a first
call adds to the process, logits and target apart: on a CPU of its resident size (Linux only).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor
from torch.nn import functional

from train.losses import MarginalExclusionLoss

PAPER_PATCH = (48, 190, 190)  # z, y, x
SMALL_PATCH = (24, 96, 96)
FULL_AND_LIVER_ONLY = [[0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 0, 0]]
NNUNET, MONAI = "nnU-Net DC_and_CE_loss", "MONAI DiceCELoss"

Loss = Callable[[Tensor], Tensor]


def losses(full: Tensor, merged: Tensor) -> dict[str, Loss]:
    """Each loss by its name, as a function of the logits."""
    partial = merged.gather(1, full.flatten(1)).view_as(full)
    total = MarginalExclusionLoss()
    marginal = MarginalExclusionLoss(exclusion_weight=0.0)
    eager = MarginalExclusionLoss(implementation="eager")
    monai = DiceCELoss(softmax=True, to_onehot_y=True)
    peers: dict[str, Loss] = {
        "marginalia, four terms": lambda logits: total(logits, partial, merged),
        "marginalia, marginal terms": lambda logits: marginal(logits, partial, merged),
        "marginalia, eager": lambda logits: eager(logits, partial, merged),
        MONAI: lambda logits: monai(logits, full[:, None]),
        "torch cross_entropy": lambda logits: functional.cross_entropy(logits, full),
    }
    nnunet = nnunet_loss()
    if nnunet is not None:
        peers[NNUNET] = lambda logits: nnunet(logits, full[:, None])
    return peers


def nnunet_loss() -> Callable[[Tensor, Tensor], Tensor] | None:
    """The loss of nnU-Net's trainer, if nnU-Net is installed."""
    try:
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
    except ImportError as error:
        sys.stdout.write(f"without nnU-Net: {error}\n")
        return None
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)


def seconds(loss: Loss, logits: Tensor) -> tuple[float, float]:
    """Wall and processor time of one forward and backward pass."""
    leaf = logits.clone(memory_format=torch.preserve_format).requires_grad_()
    synchronize(leaf.device)
    start = time.perf_counter(), time.process_time()
    loss(leaf).backward()
    synchronize(leaf.device)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(loss: Loss, logits: Tensor) -> float:
    """Memory that a forward and a backward pass need at most, beside the logits and the target."""
    leaf = logits.clone(memory_format=torch.preserve_format).requires_grad_()
    if leaf.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss(leaf).backward()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if sys.platform != "linux":
        return float("nan")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is used now
    before = resident_mib("VmRSS")
    loss(leaf).backward()
    return resident_mib("VmHWM") - before


def resident_mib(key: str) -> float:
    """What Linux says about this process's memory under that key."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(key)) / 1024


def main() -> None:
    """Print one row per loss."""
    parser = argparse.ArgumentParser(description="Time the losses beside their peers.")
    parser.add_argument("--small", action="store_true", help=f"patch {SMALL_PATCH}")
    parser.add_argument("--channels-last", action="store_true", help="as the U-Net's on a CPU")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()

    torch.manual_seed(0)
    merged = torch.tensor(FULL_AND_LIVER_ONLY, device=options.device)
    space = SMALL_PATCH if options.small else PAPER_PATCH
    logits = torch.randn(*merged.shape, *space, device=options.device)
    if options.channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(merged.shape[1], (len(merged), *space), device=options.device)

    peers = losses(target, merged)
    peak = {name: peak_mib(loss, logits) for name, loss in peers.items()}  # warms up, too
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for _ in range(options.repeats):  # in turns, so that a busy moment hits all alike
        for name, loss in peers.items():
            times[name].append(seconds(loss, logits))

    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    layout = "channels last" if options.channels_last else "contiguous"
    base = NNUNET if NNUNET in peers else MONAI
    sys.stdout.write(
        f"logits {tuple(logits.shape)} {logits.dtype}, {layout}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median of {options.repeats}; ratios to {base}, round by round\n\n"
        f"{'forward + backward':28}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}"
        f"{'peak MiB':>10}\n"
    )
    for name in peers:
        wall, cpu = (statistics.median(column) for column in zip(*times[name], strict=True))
        pairs = list(zip(times[name], times[base], strict=True))
        ratios = [statistics.median(own[i] / other[i] for own, other in pairs) for i in (0, 1)]
        sys.stdout.write(
            f"{name:28}{wall:9.3f}{ratios[0]:7.2f}{cpu:9.3f}{ratios[1]:7.2f}{peak[name]:10.0f}\n"
        )


if __name__ == "__main__":
    main()
