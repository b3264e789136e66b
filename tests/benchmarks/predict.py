"""Time and peak memory of the sliding window beside MONAI's and nnU-Net's, with one network.

    OMP_NUM_THREADS=1 python tests/benchmarks/predict.py [--shape 125 273 273] [--rounds 3]

The network is one small convolution for 14 classes, so that what is measured is the cutting and the
summing. All end with class ids on the CPU, in half-overlapping Gaussian windows; nnU-Net's takes
part if nnunetv2 is there. Each contender has a fresh process; processor time is the least of the
rounds, and memory the process's peak beyond what it had before. `predict_file.py` measures the
whole of `predict`, from file to file.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from monai.inferers.inferer import SlidingWindowInferer
from rich.console import Console
from rich.table import Table
from torch import nn

from manifests.classes.label_space import load_label_space
from train.model import Model, Normalisation
from train.prediction.sliding_window import Predictor, predict_classes

try:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
except ImportError:
    nnUNetPredictor = None  # noqa: N816

SPACE = load_label_space("abdomen13")
WINDOW = (48, 128, 128)
SCALE = Normalisation(-200.0, 300.0, 50.0, 100.0)
MIB = 2**20


def build_model(seed: int = 0) -> Model:
    """A network of one convolution, on the grid of the default preset."""
    torch.manual_seed(seed)
    network = nn.Conv3d(1, len(SPACE), 3, padding=1).eval()
    return Model(network, SPACE, SCALE, (1.5, 1.5, 3.0), WINDOW)


def by_marginalia(model: Model, hu: np.ndarray) -> np.ndarray:
    """Ours."""
    return predict_classes(Predictor(model, "cpu"), hu)


def by_monai(model: Model, hu: np.ndarray) -> np.ndarray:
    """MONAI's SlidingWindowInferer, of as many windows at once as ours."""
    infer = SlidingWindowInferer(WINDOW, sw_batch_size=2, overlap=0.5, mode="gaussian")
    images = SCALE.apply(torch.from_numpy(hu))[None, None]
    with torch.inference_mode():
        probs = infer(images, lambda windows: model.network(windows).softmax(1))
    return probs[0].argmax(0).to(torch.uint8).numpy()


def by_nnunet(model: Model, hu: np.ndarray) -> np.ndarray:
    """nnU-Net's nnUNetPredictor, without its mirror images."""
    predictor = nnUNetPredictor(
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = model.network
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=len(SPACE))
    logits = predictor.predict_sliding_window_return_logits(SCALE.apply(torch.from_numpy(hu))[None])
    return logits.argmax(0).to(torch.uint8).numpy()


CONTENDERS: dict[str, Callable[[Model, np.ndarray], np.ndarray]] = {
    "marginalia": by_marginalia,
    "MONAI SlidingWindowInferer": by_monai,
    **({"nnU-Net nnUNetPredictor": by_nnunet} if nnUNetPredictor else {}),
}


def measure(name: str, shape: tuple[int, ...], rounds: int) -> tuple[float, float, np.ndarray]:
    """Processor seconds, MiB of memory and the class ids of one contender."""
    torch.set_num_threads(1)
    model = build_model()
    hu = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    CONTENDERS[name](model, hu[: WINDOW[0], : WINDOW[1], : WINDOW[2]])  # warms up
    before, seconds, classes = _peak_mib(), [], hu
    for _ in range(rounds):
        start = time.process_time()
        classes = CONTENDERS[name](model, hu)
        seconds.append(time.process_time() - start)
    return min(seconds), _peak_mib() - before, classes


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def _in_fresh_process(work: Callable, *arguments: object) -> tuple:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(125, 273, 273))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=100)
    table = Table("sliding window", "s", "MiB", "times marginalia", "same class ids")
    found = {n: _in_fresh_process(measure, n, options.shape, options.rounds) for n in CONTENDERS}
    first_s, first_mib, ours = found["marginalia"]
    for name, (seconds, mib, classes) in found.items():
        ratio = f"{seconds / first_s:.2f} in time, {mib / first_mib:.2f} in memory"
        same = f"{np.mean(classes == ours):.5%}"
        table.add_row(name, f"{seconds:.2f}", f"{mib:.0f}", ratio, same)
    console.print(table)


if __name__ == "__main__":
    main()
