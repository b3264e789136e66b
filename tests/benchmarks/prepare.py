"""Time and memory of preparing one case, beside TorchIO, MONAI, nnU-Net and the floor below all.

    python -m tests.benchmarks.prepare [--data FOLDER] [--rounds 5] [--long] [--many 200]

The case is a phantom's CT of 512 x 512 x 150 voxels (0.8 x 0.8 x 2.5 mm, int16, a scanner's noise)
and its label map of 13 organs, gzipped, to 1.5 x 1.5 x 3 mm. A marginalia row is all of `prepare`:
reading, checks, fingerprint, audit, relabelling, resampling, statistics, writing, hashes, record.
The peers read, orient and resample, and write nothing; those that are not installed are left out.
The floor is gzip decoding by the fastest library that is installed, and ITK's linear and nearest
resampling. Each row has a process of its own with one thread, and they take turns.
"""

import argparse
import gzip
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tests.benchmarks.prepare_peers import WANTED_MM, Step, floor, monai, nnunet, torchio

SIZE_XYZ, SPACING_MM = (512, 512, 150), (0.8, 0.8, 2.5)
LONG_SIZE_XYZ, LONG_SPACING_MM = (512, 512, 1059), (0.8, 0.8, 0.5)
RECIPE = "btcv"
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "ITK_GLOBAL_DEFAULT_NUMBER_OF")
FLOOR, TORCHIO, MONAI, NNUNET = "floor", "TorchIO", "MONAI", "nnU-Net, order 3"
OURS, CUBIC = "marginalia", "marginalia, cubic"


def write_case(folder: Path, *, long: bool) -> None:
    """Draw the phantom's scan and write `image.nii.gz` and `label.nii.gz`, axes LAS as BTCV's."""
    import nibabel as nib

    from curate.phantom.acquisition import acquire, plan_scan
    from curate.phantom.patient import STRUCTURES, draw_patient, render
    from curate.recipes.schema import load_recipe
    from manifests.volumes.grid import Grid

    rng = np.random.default_rng(0)
    grid = Grid(SIZE_XYZ, SPACING_MM, (-204.4, -234.4, -230.0))
    scan = replace(plan_scan(RECIPE, rng), grid=grid)
    hu, ids = render(draw_patient(rng), grid, contrast=scan.contrast)
    values = load_recipe(RECIPE).values
    table = np.zeros(len(STRUCTURES) + 1, np.uint8)
    for value, block in values.items():
        table[[STRUCTURES.index(name) + 1 for name in block if name in STRUCTURES]] = value
    image, label = acquire(hu, scan, rng).astype(np.int16), table[ids]
    spacing_mm = SPACING_MM
    if long:  # as the largest of KiTS19, and as floats, as some datasets are
        places = np.linspace(0, len(image) - 1, LONG_SIZE_XYZ[2]).round().astype(int)
        image, label, spacing_mm = image[places].astype(np.float64), label[places], LONG_SPACING_MM
    affine = np.diag([-1.0, 1.0, 1.0, 1.0]) @ np.diag([*spacing_mm, 1.0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in (("image", image), ("label", label)):
        volume = nib.Nifti1Image(voxels[:, ::-1].transpose(2, 1, 0), affine)
        whole = folder / f".{name}.nii.gz"
        with whole.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as stream:
            stream.write(volume.to_bytes())
        whole.replace(folder / f"{name}.nii.gz")


def ours(folder: Path, interpolation: str = "linear") -> Step:
    """Everything that `prepare` does for one case."""
    from curate.cases.making import CaseJob, make
    from curate.cases.target import Target
    from curate.datasets.discover import SourceCase
    from curate.recipes.schema import load_recipe
    from manifests.classes.label_space import load_label_space

    case = SourceCase(RECIPE, "one", folder / "image.nii.gz", folder / "label.nii.gz")
    out = Path(tempfile.mkdtemp(dir=folder))
    target = Target(load_label_space("abdomen5"), WANTED_MM, out / "out", interpolation)
    job = CaseJob(case, load_recipe(RECIPE), target, out / "staging")

    def step() -> object:
        outcome = make(job)
        assert outcome.anew
        shutil.rmtree(job.staging)
        return outcome

    return step


ROWS: dict[str, tuple[str, Callable[[Path], Step]]] = {  # the module that it needs, and how
    OURS: ("curate", ours),
    CUBIC: ("curate", lambda folder: ours(folder, "cubic")),
    FLOOR: ("SimpleITK", floor),
    TORCHIO: ("torchio", torchio),
    MONAI: ("monai", monai),
    NNUNET: ("nnunetv2", nnunet),
}


class Row:
    """A process that does its step when told to; its peak memory is that of the whole process."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, name, folder), daemon=True)
        self.process.start()

    def run(self) -> tuple[float, float, float, float]:
        """Seconds, seconds of CPU, peak and remaining resident MiB of one step."""
        self.pipe.send(True)
        return self.pipe.recv()

    def stop(self) -> None:
        """End it."""
        self.pipe.send(False)
        self.process.join()


def _serve(pipe: Connection, name: str, folder: Path) -> None:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    step = ROWS[name][1](folder)
    while pipe.recv():
        reset_peak()
        start = time.perf_counter(), time.process_time()
        done = step()
        ends = time.perf_counter(), time.process_time()
        del done
        pipe.send((ends[0] - start[0], ends[1] - start[1], mib("VmHWM"), mib("VmRSS")))


def reset_peak() -> None:
    """Let the peak start anew from what is used now (Linux)."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def mib(key: str) -> float:
    """What Linux says about this process's memory under that key."""
    if sys.platform != "linux":
        return float("nan")
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(key)) / 1024


def measure(folder: Path, names: list[str], rounds: int) -> None:
    """Print one line per row: medians, and ratios round by round."""
    rows = {name: Row(name, folder) for name in names}
    for row in rows.values():  # what is done once per process: imports, tables, page faults
        row.run()
    told = {name: [] for name in names}
    for _ in range(rounds):  # in turns, so that a busy moment hits all alike
        for name, row in rows.items():
            told[name].append(row.run())
    for row in rows.values():
        row.stop()
    sys.stdout.write(f"{'':20}{'seconds':>9}{'CPU s':>9}{'to marginalia':>15}{'peak MiB':>10}\n")
    for name in names:
        wall, cpu, peak, _ = (statistics.median(column) for column in zip(*told[name], strict=True))
        pairs = zip(told[name], told[OURS], strict=True)
        ratio = statistics.median(other[1] / own[1] for other, own in pairs)
        sys.stdout.write(f"{name:20}{wall:9.2f}{cpu:9.2f}{ratio:15.2f}{peak:10.0f}\n")


def measure_many(folder: Path, count: int) -> None:
    """Print what stays resident after each tenth of so many cases, one after another."""
    row = Row(OURS, folder)
    resident = [row.run()[3] for _ in range(count)]
    row.stop()
    tenths = resident[count // 10 - 1 :: count // 10]
    sys.stdout.write(f"resident MiB over {count} cases: {[round(r) for r in tenths]}\n")
    sys.stdout.write(f"greatest rise: {max(b - a for a, b in pairwise(tenths)):.1f} MiB\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the preparation of a case beside its peers.")
    parser.add_argument("--data", type=Path, help="where the drawn case is kept, and found again")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; the median counts")
    parser.add_argument("--only", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--long", action="store_true", help="512 x 512 x 1059, float64; ours alone")
    parser.add_argument("--many", type=int, help="so many cases, one after another; ours alone")
    options = parser.parse_args()

    os.environ |= {f"{name}_NUM_THREADS": "1" for name in THREADS[:-1]}
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.data or Path(temporary)) / ("long" if options.long else "usual")
        if not (folder / "label.nii.gz").is_file():
            write_case(folder, long=options.long)
        if options.many:
            measure_many(folder, options.many)
            return
        names = [n for n in options.only if find_spec(ROWS[n][0])]
        measure(folder, [OURS] if options.long else names, options.rounds)


if __name__ == "__main__":
    main()
