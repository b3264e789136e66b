"""Time a training step: what is not the network, and patches per second beside nnU-Net's trainer.

    python tests/benchmarks/training.py [--patch 64 160 160] [--device cuda] [--residence disk]

Data, augmentation, loss and optimiser are timed with the `default` preset on volumes of random
smooth noise. Where nnunetv2 is installed, its trainer runs on the same volumes with its own loader,
augmentation, loss and optimiser, and with the same network, or with its own U-Net of as many levels
(whose last decoder stage has flatter kernels where the spacing is anisotropic: fewer operations).
`--peer-workers` are its loader's processes (0: in the same process, and so in its CPU time). On a
GPU both use half precision, as they do by default; on a CPU with instructions for bfloat16 ours
does, unless told `--precision float32`, and nnU-Net never.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import nn

from manifests.classes.label_space import load_label_space
from train.device import autocast
from train.methods.objective import batch_loss
from train.model import Normalisation
from train.networks.network import build_network, for_device, plan_levels
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import MappedCase, MappedFile
from train.patches.sampler import Batch, Candidate, plan_epoch
from train.planning.plan import TrainingPlan
from train.settings import TrainSettings, resolve
from train.training.batches import BatchSource, batch_source, read_batches
from train.training.learner import build_optimiser

SPACE = load_label_space("abdomen5")
SPACING_MM = (1.5, 1.5, 3.0)
FULL, LIVER_ONLY = (0, 1, 2, 3, 4, 5), (0, 1, 0, 0, 0, 0)
SCALE = Normalisation(-200.0, 300.0, 50.0, 100.0)
STAGES = ("data + augmentation", "network", "loss", "optimiser")

Case = tuple[np.ndarray, np.ndarray]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def draw_cases(shape_zyx: Sequence[int], count: int) -> list[Case]:
    """Smooth noise in Hounsfield units, and organs where it is bright; every other one partial."""
    generator = np.random.default_rng(0)
    coarse = [max(2, n // 16) for n in shape_zyx]
    factors = [n / c for n, c in zip(shape_zyx, coarse, strict=True)]
    cases: list[Case] = []
    for number in range(count):
        smooth, which = (zoom(generator.normal(size=coarse), factors, order=1) for _ in range(2))
        hu = (300 * smooth + 20 * generator.normal(size=shape_zyx)).astype(np.int16)
        organs = np.clip((which + 1.5) * 2, 1, 5).astype(np.uint8) * (smooth > 0.5)
        merged = np.array(LIVER_ONLY if number % 2 else FULL, np.uint8)
        cases.append((hu, merged[organs]))
    return cases


def write_volumes(folder: Path, cases: Sequence[Case]) -> list[MappedCase]:
    """Write cases as files without a header."""
    volumes: list[MappedCase] = []
    for number, arrays in enumerate(cases):
        files: list[MappedFile] = []
        for name, array in zip(("image", "label"), arrays, strict=True):
            path = folder / f"{name}_{number}.raw"
            array.tofile(path)
            files.append(MappedFile(path, torch.from_numpy(array).dtype, array.shape, 0))
        dataset, merged = ("partial", LIVER_ONLY) if number % 2 else ("full", FULL)
        volumes.append(MappedCase(f"{dataset}/{number}", dataset, merged, *files, ""))
    return volumes


class Trainer:
    """A training step of ours, taken apart."""

    def __init__(
        self, volumes: Sequence[MappedCase], plan: TrainingPlan, folder: Path, clock: Clock
    ) -> None:
        """Build the network and open the volumes."""
        self.clock = clock
        self.settings, self.device = plan.settings, torch.device(plan.settings.device)
        network = build_network(plan.network, len(SPACE))
        self.network = for_device(network, self.device).train()
        self.optimiser = build_optimiser(self.network, plan.settings)
        source = batch_source(volumes, plan, self.device)
        candidates = find_candidates(volumes, folder, workers=2)
        self.residence = source.residence.kind
        self.batches = endless(source, candidates, plan.settings)

    def step(self) -> dict[str, float]:
        """Seconds of each stage of one step."""
        settings = self.settings
        marks = [self.now()]
        batch = next(self.batches)
        marks.append(self.now())
        with autocast(settings.precision, self.device):
            logits = self.network(batch.images)
        marks.append(self.now())
        leaf = logits.detach().requires_grad_()
        loss, _ = batch_loss(leaf, batch, settings)
        loss.item()
        loss.backward()
        marks.append(self.now())
        self.optimiser.zero_grad()
        logits.backward(leaf.grad)
        marks.append(self.now())
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_norm or 1e9)
        self.optimiser.step()
        marks.append(self.now())
        data, forward, judged, backward, stepped = np.diff(marks).tolist()
        return dict(zip(STAGES, (data, forward + backward, judged, stepped), strict=True))

    def now(self) -> float:
        """The time, once a GPU has done what it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()


def endless(
    source: BatchSource, candidates: Sequence[Candidate], settings: TrainSettings
) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    epoch = 0
    while True:
        generator = np.random.default_rng(epoch)
        yield from read_batches(source, plan_epoch(candidates, settings, generator))
        epoch += 1


def plan_of(settings: TrainSettings) -> TrainingPlan:
    """A plan for the benchmark's volumes."""
    return TrainingPlan(
        settings=settings,
        label_space=SPACE,
        training=(),
        validation=(),
        spacing_mm=SPACING_MM,
        normalisation=SCALE,
        remarks=(),
    )


def peer_steps(
    folder: Path,
    cases: Sequence[Case],
    plan: TrainingPlan,
    options: argparse.Namespace,
) -> Callable[[], float]:
    """A function that does one step of nnU-Net's trainer and returns its seconds."""
    from nnunet_trainer import build_trainer

    settings = plan.settings
    trainer = build_trainer(
        folder,
        [(SCALE.apply(torch.from_numpy(hu)).numpy(), label) for hu, label in cases],
        levels=plan_levels(plan.network),
        filters=settings.filters,
        patch_size=settings.patch_size_zyx,
        batch_size=settings.batch_size,
        num_classes=len(SPACE),
        device=settings.device,
        workers=options.peer_workers,
        network=None if options.peer_network == "own" else build_network(plan.network, len(SPACE)),
    )
    loader, _ = trainer.get_dataloaders()
    clock = CLOCKS[options.clock]

    def step() -> float:
        start = clock()
        trainer.train_step(next(loader))  # ends with the loss on the CPU
        return clock() - start

    return step


def main() -> None:
    """Print the share of each stage, and patches per second beside nnU-Net's."""
    parser = argparse.ArgumentParser(description="Time a training step.")
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 96, 96), metavar=("Z", "Y", "X"))
    parser.add_argument("--volume", type=int, nargs=3, default=(96, 200, 200))
    parser.add_argument("--steps", type=int, default=8, help="timed steps; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--residence", default="auto", help="auto, device, host or disk")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--peer-workers", type=int, default=0)
    parser.add_argument("--peer-network", choices=("same", "own"), default="same")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on a busy machine")
    options = parser.parse_args()

    settings = resolve(
        "default",
        [
            f"patch_size_zyx={','.join(map(str, options.patch))}",
            f"device={options.device}",
            f"residence={options.residence}",
            f"precision={options.precision}",
            "deep_supervision=false",  # as the peer is told
        ],
    )
    cases, plan = draw_cases(options.volume, 4), plan_of(settings)
    has_peer = importlib.util.find_spec("nnunetv2") is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = Trainer(write_volumes(folder, cases), plan, folder, CLOCKS[options.clock])
        theirs = peer_steps(folder, cases, plan, options) if has_peer else None
        parts: list[dict[str, float]] = []
        peers: list[float] = []
        for number in range(options.steps + 2):  # in turns; the first ones warm up
            part = ours.step()
            peer = theirs() if theirs else float("nan")
            if number >= 2:
                parts.append(part)
                peers.append(peer)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    sys.stdout.write(
        f"default network, {settings.batch_size} patches of {tuple(options.patch)}, {device}, "
        f"{torch.get_num_threads()} threads, {settings.precision}, residence {ours.residence}, "
        f"torch {torch.__version__}, {options.steps} steps, {options.clock} time\n\n"
    )
    report(parts, peers if has_peer else [], settings.batch_size)


def report(parts: Sequence[dict[str, float]], peers: Sequence[float], batch_size: int) -> None:
    """Print means by stage, since augmentation is drawn by chance, and medians of whole steps."""
    total = statistics.fmean(sum(part.values()) for part in parts)
    sys.stdout.write(f"{'stage':24}{'seconds':>10}{'share':>10}\n")
    for stage in STAGES:
        seconds = statistics.fmean(part[stage] for part in parts)
        sys.stdout.write(f"{stage:24}{seconds:10.4f}{seconds / total:10.1%}\n")
    network = statistics.fmean(part["network"] for part in parts)
    rest = total - network
    sys.stdout.write(f"{'all but the network':24}{rest:10.4f}{rest / total:10.1%}\n\n")
    ours = statistics.median(sum(part.values()) for part in parts)
    sys.stdout.write(f"{'patches per second':24}{batch_size / ours:10.3f}\n")
    if peers:
        theirs = statistics.median(peers)
        sys.stdout.write(f"{'nnU-Net v2':24}{batch_size / theirs:10.3f}{theirs / ours:10.2f}x\n")
    else:
        sys.stdout.write("nnU-Net v2: not installed\n")


if __name__ == "__main__":
    main()
