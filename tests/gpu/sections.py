"""Sections of the GPU run without a training: tests, losses, a step's parts, prediction."""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.gpu.figure import Bench, Figure, at_least, at_most, holds

ROOT = Path(__file__).parents[2]
WITH_GPU_TESTS = ("losses", "augmentation", "patches", "training", "prediction")
PATCHES = {False: (48, 190, 190), True: (8, 24, 24)}  # z, y, x; the paper's, and a quick one's
GIB = 2**30


def tests(bench: Bench) -> Iterator[Figure]:
    """Run the tests that are marked `gpu`; without a GPU, only find them."""
    yield Figure("device", _device_name(bench))
    folders = [str(ROOT / "tests" / "train" / name) for name in WITH_GPU_TESTS]
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *folders]
    ran = subprocess.run(
        words if bench.is_gpu else [*words, "--collect-only"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    sys.stdout.write(ran.stdout + ran.stderr)
    last = ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else "no output"
    name = "tests marked gpu" if bench.is_gpu else "tests marked gpu, only found"
    yield holds(name, last.strip("= "), "all pass", met=ran.returncode == 0)


def loss(bench: Bench) -> Iterator[Figure]:
    """Forward and backward of the losses beside the time of moving the logits."""
    import torch

    from train.losses import MarginalExclusionLoss

    device, classes = torch.device(bench.device), 6
    torch.manual_seed(0)
    space = PATCHES[bench.quick]
    logits = torch.randn(2, classes, *space, device=device)
    merged = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 0, 0]], device=device)
    full = torch.randint(classes, (2, *space), device=device)
    target = merged.gather(1, full.flatten(1)).view_as(full)
    other = torch.empty_like(logits)
    # a copy reads and writes the logits once; the loss has to read them twice and write once
    floor = 1.5 * _median_seconds(lambda: other.copy_(logits), device, 20)
    yield Figure("reading the logits twice and writing them once", floor * 1e3, "ms")

    eager = MarginalExclusionLoss(implementation="eager")
    losses: dict[str, Callable[..., Any]] = {
        "fused": MarginalExclusionLoss(),
        "eager": eager,
    }
    if not bench.quick:  # which takes half a minute on a CPU
        losses["eager with torch.compile"] = torch.compile(eager)
    gradients: dict[str, Any] = {}
    for name, of in losses.items():

        def step(of: Callable[..., Any] = of) -> Any:
            leaf = logits.detach().requires_grad_()
            of(leaf, target, merged).backward()
            return leaf.grad

        try:
            gradients[name] = step()
            peak = _peak_gib(step, device) - logits.numel() * 4 / GIB if bench.is_gpu else 0.0
            taken = _median_seconds(step, device, 3 if bench.quick else 15)
        except Exception as error:
            yield holds(f"loss, {name}", f"{type(error).__name__}: {error}"[:200], "", met=False)
            continue
        yield at_most(f"loss, {name}, over that floor", taken / floor, 2)
        yield Figure(f"loss, {name}", taken * 1e3, "ms")
        yield Figure(f"loss, {name}, memory beside logits and gradient", peak, "GiB")
    reference = gradients.get("eager")
    for name, gradient in gradients.items():
        if reference is not None and name != "eager":
            wrong = float((gradient - reference).abs().max() / reference.abs().max())
            yield at_most(f"gradient, {name} against eager, largest difference", wrong, 1e-3)


def step(bench: Bench) -> Iterator[Figure]:
    """The parts of a training step, memory layouts, and nnU-Net's trainer where it is installed."""
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    import torch
    import training as parts

    from train.settings import resolve

    patch, volume = (
        ((16, 32, 32), (24, 48, 48)) if bench.quick else ((64, 160, 160), (96, 200, 200))
    )
    words = [f"patch_size_zyx={','.join(map(str, patch))}", f"device={bench.device}"]
    small = ["filters=4,8,8"] if bench.quick else []
    settings = resolve("default", [*words, *small, "fit_patch=false", "deep_supervision=false"])
    cases, plan = parts.draw_cases(volume, 4), parts.plan_of(settings)
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        ours = parts.Trainer(parts.write_volumes(folder, cases), plan, folder, time.perf_counter)
        count = 2 if bench.quick else 12
        found = [ours.step() for _ in range(2 + count)][2:]
        mean = {stage: statistics.fmean(f[stage] for f in found) for stage in parts.STAGES}
        whole = sum(mean.values())
        for stage, seconds in mean.items():
            yield Figure(f"step, {stage}", seconds * 1e3, "ms")
        rest = (whole - mean["network"]) / whole
        yield at_most("step, all but the network", 100 * rest, 5, "%")
        pace = settings.batch_size / statistics.median(sum(f.values()) for f in found)
        yield Figure("patches per second", pace)
        if bench.is_gpu:
            yield from _layouts(ours.network, settings, torch)
        if importlib.util.find_spec("nnunetv2") is None:
            yield Figure("nnU-Net's trainer", "not installed")
            return
        options = argparse.Namespace(peer_workers=12, peer_network="own", clock="wall")
        theirs = parts.peer_steps(folder, cases, plan, options)
        taken = [theirs() for _ in range(2 + count)][2:]
        peer = settings.batch_size / statistics.median(taken)
        yield Figure("patches per second, nnU-Net's trainer", peer)
        yield at_least("patches per second, over nnU-Net's", pace / peer, 1.5)


def _layouts(network: Any, settings: Any, torch: Any) -> Iterator[Figure]:
    """Forward and backward of the network in both memory layouts, and compiled."""
    device = torch.device(settings.device)
    images = torch.randn(settings.batch_size, 1, *settings.patch_size_zyx, device=device)
    layouts = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}
    for name, layout in layouts.items():
        of, given = network.to(memory_format=layout), images.to(memory_format=layout)

        def both(of: Any = of, given: Any = given) -> None:
            with torch.autocast("cuda", torch.bfloat16):
                logits = of(given)
            logits.float().sum().backward()

        yield Figure(f"network, {name}", 1e3 * _median_seconds(both, device, 5), "ms")


def prediction(bench: Bench) -> Iterator[Figure]:
    """A scan of 512 x 512 x 400 voxels of 0.8 x 0.8 x 1.5 mm, on the grid of the network."""
    import numpy as np
    import torch

    from manifests.classes.label_space import load_label_space
    from train.model import Model, Normalisation
    from train.networks.network import NetworkSettings, build_network
    from train.prediction.sliding_window import Predictor, predict_classes
    from train.settings import resolve

    space = load_label_space("abdomen5")
    settings = resolve(
        "default", ["filters=4,8,8", "patch_size_zyx=16,32,32"] if bench.quick else []
    )
    spacing_mm = (1.5, 1.5, 3.0)
    network = build_network(NetworkSettings.of(settings, spacing_mm), len(space))
    model = Model(
        network=network,
        label_space=space,
        spacing_mm=spacing_mm,
        patch_size_zyx=settings.patch_size_zyx,
        normalisation=Normalisation(-200.0, 300.0, 50.0, 100.0),
        precision=settings.precision,
    )
    shape = (24, 40, 40) if bench.quick else (200, 273, 273)
    hu = np.random.default_rng(0).integers(-200, 300, shape).astype(np.int16)
    predictor = Predictor(model, torch.device(bench.device))
    predict_classes(predictor, hu[:16])  # warms up
    started = time.perf_counter()
    classes = predict_classes(predictor, hu)
    yield Figure("prediction of a whole scan", time.perf_counter() - started, "s")
    if bench.is_gpu:
        yield Figure("prediction, peak memory", torch.cuda.max_memory_allocated() / GIB, "GiB")
        on_cpu = predict_classes(Predictor(model, torch.device("cpu")), hu[:64, :96, :96])
        on_gpu = predict_classes(predictor, hu[:64, :96, :96])
        share = float((on_cpu == on_gpu).mean())
        yield at_least("prediction, voxels as on the CPU", 100 * share, 99, "%")
    yield holds("prediction, classes", str(classes.shape), str(shape), met=classes.shape == shape)


def _median_seconds(step: Callable[[], Any], device: Any, repeats: int) -> float:
    times: list[float] = []
    for _ in range(repeats + 1):  # the first one warms up
        _wait(device)
        started = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _wait(device: Any) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _peak_gib(step: Callable[[], Any], device: Any) -> float:
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return (torch.cuda.max_memory_allocated(device) - before) / GIB


def _device_name(bench: Bench) -> str:
    import torch

    name = torch.cuda.get_device_name(bench.device) if bench.is_gpu else "cpu"
    return f"{name}, PyTorch {torch.__version__}"
