"""Measure `split_kidneys`: time and memory on a large scan, against two naive splits, and 24 masks.

Run `python tests/benchmarks/kidneys.py [--table]`. Every measurement runs in a process of its own:
CPU seconds, and peak resident memory above what was resident just after reading (Linux).
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import cc3d
import numpy as np
import SimpleITK as sitk
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from curate.kidneys.split import split_kidneys
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume

KITS = Path(__file__).parents[3] / "shared" / "data" / "kits19"
GRID = Grid((512, 512, 1059), (0.8, 0.8, 0.5), (-204.4, -204.4, -264.5))
PAIR = "case_00064"
NOISE = 1e-4
WITH_IMAGE = ("pair", "pair, 0.01 % salt and pepper")  # measured in full
SECONDS, MIB = 2.0, 1000
GIVE_UP_SECONDS = 300
REPEATS = 3


def _pair() -> np.ndarray:
    """Draw a real pair of kidneys on the large grid, its centre in the middle."""
    mask = sitk.ReadImage(KITS / PAIR / "segmentation.nii.gz") > 0
    index = np.argwhere(sitk.GetArrayViewFromImage(mask)).mean(axis=0)[::-1]
    place = np.array(mask.TransformContinuousIndexToPhysicalPoint(index.tolist()))
    mask.SetOrigin((np.array(mask.GetOrigin()) - place).tolist())
    where = (GRID.origin_mm, GRID.spacing_mm, GRID.direction_lps)
    how = (sitk.Transform(), sitk.sitkNearestNeighbor, *where, 0, sitk.sitkUInt8)
    return sitk.GetArrayFromImage(sitk.Resample(mask, GRID.size_xyz, *how))


def _ellipsoid(centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> np.ndarray:
    z, y, x = (
        ((GRID.origin_mm[a] + np.arange(n) * GRID.spacing_mm[a] - centre_mm[a]) / radii_mm[a]) ** 2
        for a, n in ((2, 1059), (1, 512), (0, 512))
    )
    return np.stack([plane + y[:, None] + x <= 1 for plane in z])


def _corners() -> np.ndarray:
    mask = _pair()
    mask[:: mask.shape[0] - 1, :: mask.shape[1] - 1, :: mask.shape[2] - 1] = 1
    return mask


def _noise() -> np.ndarray:
    mask, rng = _pair(), np.random.default_rng(0)
    flipped = rng.integers(mask.size, size=int(NOISE * mask.size))
    mask.ravel()[flipped] ^= 1
    return mask


def _joined() -> np.ndarray:
    return _pair() | _ellipsoid((0, 0, 0), (70, 9, 9)).astype(np.uint8)


MASKS: dict[str, Callable[[], np.ndarray]] = {
    "pair": _pair,
    "pair, a voxel in each corner": _corners,
    "pair, 0.01 % salt and pepper": _noise,
    "pair, joined by a bridge": _joined,
    "one mass of 3 L": lambda: _ellipsoid((80, 0, 0), (80, 80, 112)).astype(np.uint8),
    "every voxel": lambda: np.ones(GRID.size_xyz[::-1], np.uint8),
}


def _largest_two_scipy(mask: Volume) -> np.ndarray:
    """Label, keep the two largest components, order them by their centres."""
    array, count = ndimage.label(mask.voxels, np.ones((3, 3, 3)))
    sizes = np.bincount(array.ravel(), minlength=count + 1)[1:]
    largest = 1 + np.argsort(sizes)[::-1][:2]
    x = [c[2] for c in ndimage.center_of_mass(array > 0, array, largest)]
    labels = np.zeros(array.shape, np.uint8)
    for side, number in enumerate(largest[np.argsort(x)[::-1]], start=1):
        labels[array == number] = side
    return labels


def _largest_two_cc3d(mask: Volume) -> np.ndarray:
    """Do as the preparation of a universal model does: floats, a pass for every small component."""
    array = cc3d.connected_components((mask.voxels == 1).astype(np.float64) > 0, connectivity=26)
    values, counts = np.unique(array, return_counts=True)
    order = values[np.argsort(counts)[::-1]]
    for number in order[3:]:
        array[array == number] = 0
    labels = np.zeros(array.shape)
    x = [np.where(array == number)[2].mean() for number in order[1:3]]
    for side, place in enumerate(np.argsort(x)[::-1], start=1):
        labels[array == order[1 + place]] = side
    return labels


PEERS = {"two largest, scipy": _largest_two_scipy, "two largest, cc3d": _largest_two_cc3d}


def _resident_kib(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def measure(method: str, mask_path: str, image_path: str) -> dict[str, object]:
    """Read, then time one split and take its peak memory, in this process."""
    split_kidneys(
        Volume(np.ones((1, 1, 1), np.uint8), Grid((1, 1, 1), (1.0, 1.0, 1.0)))
    )  # what is loaded on first use
    mask = read_volume(Path(mask_path))
    image = read_volume(Path(image_path)) if image_path else None
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident_kib("VmRSS")
    start = time.process_time()
    result = PEERS[method](mask) if method in PEERS else split_kidneys(mask, image=image)
    seconds = time.process_time() - start
    mib = (_resident_kib("VmHWM") - before) / 1024
    found = (
        result
        if method in PEERS
        else f"{result.method}: " + ", ".join(finding.code for finding in result.findings)
    )
    lost = ""
    if method in PEERS:
        kept = np.count_nonzero(result)
        lost = f"{np.count_nonzero(mask.voxels) - kept} voxels lost"
    return {"seconds": seconds, "mib": mib, "found": lost or found}


def _run(*arguments: str, repeats: int) -> list[dict[str, float]]:
    command = [sys.executable, __file__, "--measure", *arguments]
    runs = []
    for _ in range(repeats):
        try:
            out = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=GIVE_UP_SECONDS
            )
        except subprocess.TimeoutExpired:
            return []
        runs.append(json.loads(out.stdout))
    return sorted(runs, key=lambda run: run["seconds"])


def large_table(folder: Path) -> Table:
    """Measure on 512 x 512 x 1059 voxels."""
    table = Table("mask", "image", "method", "s", "ratio", "MiB", "found", title="512 x 512 x 1059")
    images = {"": ""}
    for dtype in (np.int16, np.float64):
        body = np.where(_ellipsoid((8, 0, 0), (170, 120, 1e6)), dtype(40), dtype(-1000))
        path = folder / f"{np.dtype(dtype)}.nii"
        sitk.WriteImage(GRID.image(body), path)
        images[np.dtype(dtype).name] = str(path)
        del body
    for name, make in MASKS.items():
        path = folder / "mask.nii"
        sitk.WriteImage(GRID.image(make()), path)
        ours = 0.0
        for image in images if name in WITH_IMAGE else [""]:
            run = _run("this", str(path), images[image], repeats=REPEATS)[REPEATS // 2]
            ours = ours or run["seconds"]
            table.add_row(name, image, "this", *_cells(run, ours))
        for peer in PEERS if name in WITH_IMAGE else ():
            runs = _run(peer, str(path), "", repeats=1)
            cells = _cells(runs[0], ours) if runs else (f"> {GIVE_UP_SECONDS}", "", "", "")
            table.add_row(name, "", peer, *cells)
        table.add_section()
    return table


def _cells(run: dict[str, float], ours: float) -> tuple[str, ...]:
    within = run["seconds"] <= SECONDS and run["mib"] <= MIB
    cells = (f"{run['seconds']:.2f}", f"{run['seconds'] / ours:.1f}", f"{run['mib']:.0f}")
    return (*(c if within else f"[red]{c}[/]" for c in cells), str(run["found"]))


def masks_table() -> Table:
    """Split the real masks."""
    table = Table("case", "left mL", "right mL", "undecided mL", "method", "findings", "s")
    for path in sorted(KITS.glob("case_*/segmentation.nii.gz")):
        mask = read_volume(path)
        start = time.process_time()
        result = split_kidneys(mask)
        seconds = time.process_time() - start
        voxels = np.bincount(result.labels.voxels.ravel(), minlength=4)
        volumes = [f"{v * mask.grid.voxel_ml:.1f}" if v else "" for v in voxels[1:]]
        said = "; ".join(f"{f.code}: {f.reason}" for f in result.findings)
        table.add_row(path.parent.name, *volumes, result.method, said, f"{seconds:.2f}")
    return table


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only the table of the real masks")
    parser.add_argument("--measure", nargs=3, metavar=("METHOD", "MASK", "IMAGE"))
    asked = parser.parse_args()
    if asked.measure:
        sys.stdout.write(json.dumps(measure(*asked.measure)))
    else:
        console = Console(width=150)
        console.print(masks_table())
        if not asked.table:
            with tempfile.TemporaryDirectory() as scratch:
                console.print(large_table(Path(scratch)))
