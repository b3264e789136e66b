r"""CPU time and memory of `predict` from file to file, of several builds in turns.

    python -m tests.benchmarks.predict_file [--builds OLDER .] [--classes 6 14] [--rounds 5]
    python -m tests.benchmarks.predict_file --classes 118 --there 14 [--default]
    python -m tests.benchmarks.predict_file --classes 14 --default --nnunet --slices 400 \
        --slice-mm 1.5

The scan is a phantom's, of 512 x 512 x 1059 voxels (0.8 x 0.8 x 0.5 mm) with a scanner's noise. The
network is one convolution, whose classes are bands of intensities: background below 20 HU, and
bones and organs full of contrast medium above. So nearly all that is measured is ours. With
`--default` the U-Net of that preset is computed too, with new weights, and adds next to nothing to
these classes, since a network that has learnt nothing finds another class in every voxel. That
takes long. With `--nnunet`, nnU-Net's own predictor takes part, from file to file, with the
same weights in its own U-Net; it needs nnunetv2. `--there` leaves the other classes without a
voxel. Each round is a fresh process with one thread for each build, whose checkouts are named; what
counts is the CPU time of the whole process, imports included, and its peak memory. The label maps
of the builds are compared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from manifests.classes.label_space import LabelSpace
    from train.model import Normalisation

PIXEL_MM = 0.8
NETWORK_MM = (1.5, 1.5, 3.0)
WINDOW = (48, 128, 128)
SHARPNESS = 20.0
MIB = 2**20
NNUNET = Path("nnU-Net")  # in place of a checkout


def draw_scan(path: Path, slices: int, slice_mm: float) -> None:
    """Write the phantom of the benchmark of `prepare` with more slices and new noise in each."""
    import SimpleITK as sitk

    from tests.benchmarks.prepare import write_case

    write_case(path.parent / "drawn", long=False)
    image = sitk.ReadImage(path.parent / "drawn" / "image.nii.gz")
    hu, rng = sitk.GetArrayFromImage(image), np.random.default_rng(0)
    hu = hu[np.linspace(0, len(hu) - 1, slices).round().astype(int)]
    for plane in hu:
        plane += rng.normal(0, 8, plane.shape).round().astype(np.int16)
    scan = sitk.GetImageFromArray(hu)
    scan.SetDirection(image.GetDirection())
    scan.SetOrigin(image.GetOrigin())
    scan.SetSpacing((PIXEL_MM, PIXEL_MM, slice_mm))
    sitk.WriteImage(scan, path, useCompression=True, compressionLevel=1)


def predict_one(scan: Path, folder: Path, classes: int, there: int, *, default: bool) -> None:
    """Predict a scan as `marginalia predict` does."""
    from train.model import Model
    from train.networks.network import NetworkSettings, build_network
    from train.prediction.predict import predict_files
    from train.prediction.sliding_window import Predictor
    from train.settings import resolve

    one_thread()
    window, precision, network = WINDOW, "float32", bands(classes, there)
    if default:
        settings = resolve("default")
        window, precision = settings.patch_size_zyx, settings.precision
        unet = build_network(NetworkSettings.of(settings, NETWORK_MM), classes).eval()
        network = with_little_of(network, unet)
    model = Model(network, space_of(classes), scale(), NETWORK_MM, window, precision=precision)
    (result,) = predict_files(Predictor(model, "cpu"), [scan], folder)
    if result.outcome != "written":
        raise RuntimeError(result.reason)


def predict_one_with_nnunet(scan: Path, folder: Path, classes: int, there: int) -> None:
    """Predict a scan as `predict_one` does with the `default` U-Net, but by nnU-Net's predictor."""
    from tests.benchmarks.nnunet_predictor import predict_with_nnunet
    from train.checkpoints.checkpoint import CheckpointHeader
    from train.networks.network import build_network
    from train.settings import resolve

    one_thread()
    header = CheckpointHeader(
        label_space=space_of(classes),
        settings=resolve("default"),
        normalisation=scale(),
        spacing_mm=NETWORK_MM,
        manifest_sha256="",
        losses=(),
        step=0,
        best_score=None,
    )
    first = bands(classes, there)
    predict_with_nnunet(
        header,
        build_network(header.network, classes),
        lambda unet: with_little_of(first, unet),
        scan,
        folder,
    )


def one_thread() -> None:
    """Let PyTorch and ITK compute with one thread."""
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def scale() -> "Normalisation":
    """Return how intensities are scaled."""
    from train.model import Normalisation

    return Normalisation(-200.0, 300.0, 50.0, 100.0)


def space_of(classes: int) -> "LabelSpace":
    """Return a label space of that many classes."""
    from manifests.classes.label_space import LabelSpace, load_label_space

    shipped = {6: "abdomen5", 14: "abdomen13"}
    if classes in shipped:
        return load_label_space(shipped[classes])
    names = [f"thing_{n}" for n in range(1, classes)]
    each = [{"name": name, "structures": [name]} for name in names]
    facts = {"name": "many", "structures": {name: {} for name in names}, "classes": each}
    return LabelSpace.model_validate(facts)


def bands(classes: int, there: int) -> "nn.Module":
    """Return the convolution whose classes are bands of intensities."""
    import torch

    # the greatest of these lines is that of the nearest centre
    centre = torch.full((classes,), -60.0)
    centre[1:there] = torch.linspace(100, 300, there - 1)
    middle = (centre - scale().mean_hu) / scale().std_hu
    network = torch.nn.Conv3d(1, classes, 3, padding=1).eval()
    with torch.no_grad():
        network.weight[:] = (2 * SHARPNESS * middle / 27).view(-1, 1, 1, 1, 1)
        network.bias[:] = -SHARPNESS * middle**2
        network.weight[there:], network.bias[there:] = 0.0, -100.0
    return network


def with_little_of(network: "nn.Module", other: "nn.Module") -> "nn.Module":
    """Return a network whose answer is that of one, and next to nothing of another."""
    import torch
    from torch import nn

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.other = network, other

        def forward(self, images: "Tensor") -> "Tensor":
            with torch.autocast(images.device.type, enabled=False):  # bands are narrow for bfloat16
                answer = self.network(images)
            return answer + 1e-6 * self.other(images)

    return Both().eval()


def measure(build: Path, scan: Path, folder: Path, asked: list[str]) -> tuple[float, float]:
    """Return CPU seconds and peak MiB of a fresh process of a build, or of nnU-Net."""
    command = [
        sys.executable,
        Path(__file__).resolve(),
        "--scan",
        str(scan),
        "--out",
        str(folder),
        *asked,
        *(["--nnunet"] if build == NNUNET else []),
    ]
    build = Path() if build == NNUNET else build
    threads = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": str(build.resolve())}
    process = subprocess.Popen(command, env=environment, cwd=build)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{build}: the prediction failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MIB


def compare(builds: list[Path], scan: Path, asked: list[str], rounds: int) -> None:
    """Print a line per build: medians, ratios to the first, and voxels with the same class."""
    import nibabel as nib

    told: dict[Path, list[tuple[float, float]]] = {build: [] for build in builds}
    maps: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as name:
        for n in range(rounds):
            for build in builds:
                out = Path(name) / f"{len(maps)}-{n}"
                told[build].append(measure(build, scan, out, asked))
                if not n:
                    maps.append(np.asarray(nib.load(out / scan.name).dataobj))
    for build, found in zip(builds, maps, strict=True):
        cpu, peak = (statistics.median(column) for column in zip(*told[build], strict=True))
        pairs = zip(told[build], told[builds[0]], strict=True)
        ratio = statistics.median(own[0] / first[0] for own, first in pairs)
        same = np.mean(found == maps[0])
        words = (
            f"{cpu:8.1f} CPU s {ratio:6.2f} {peak:6.0f} MiB {same:10.4%} {(found > 0).mean():.1%}"
        )
        sys.stdout.write(f"{' '.join(asked):40} {words} {build}\n")
        sys.stdout.flush()


def main() -> None:
    """Print the table, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=Path, nargs="+", default=[Path()], help="checkouts")
    parser.add_argument("--data", type=Path, help="where the drawn scan is kept, and found again")
    parser.add_argument("--classes", type=int, nargs="+", default=[6, 14])
    parser.add_argument("--there", type=int, help="classes that have voxels; all by default")
    parser.add_argument("--slices", type=int, default=1059)
    parser.add_argument("--slice-mm", type=float, default=0.5, help="distance of the slices")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--default", action="store_true", help="the U-Net of the default preset")
    parser.add_argument("--nnunet", action="store_true", help="beside nnU-Net's predictor")
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scan:
        (classes,) = options.classes
        there = options.there or classes
        if options.nnunet:
            predict_one_with_nnunet(options.scan, options.out, classes, there)
        else:
            predict_one(options.scan, options.out, classes, there, default=options.default)
        return
    if options.nnunet and not options.default:
        parser.error("--nnunet needs --default: nnU-Net has no network of one convolution")
    builds = [*options.builds, *([NNUNET] if options.nnunet else [])]
    with tempfile.TemporaryDirectory() as name:
        scan = (options.data or Path(name)) / f"scan_{options.slices}_{options.slice_mm}.nii.gz"
        if not scan.is_file():
            scan.parent.mkdir(parents=True, exist_ok=True)
            draw_scan(scan, options.slices, options.slice_mm)
        for classes in options.classes:
            asked = ["--classes", str(classes), *(["--default"] if options.default else [])]
            asked += ["--there", str(options.there)] if options.there else []
            compare(builds, scan, asked, options.rounds)


if __name__ == "__main__":
    main()
