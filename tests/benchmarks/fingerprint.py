"""Measure the fingerprint: copies found, patients kept apart, seconds, and 10,000 simulated cases.

    python -m tests.benchmarks.fingerprint

Needs real data where tests/conftest.py looks for it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from curate.phantom.acquisition import acquire, plan_scan
from curate.phantom.patient import draw_patient, render
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.keypoints import find_keypoints
from manifests.fingerprints.matching import LEAST_VOTES, find_matches
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume
from tests.conftest import SHARED_DATA
from tests.manifests.fingerprints.simulated_fingerprints import simulated

DATA = SHARED_DATA / "totalsegmentator"
REAL = ("example_ct", "example_ct_dicom")
PHANTOMS = ("btcv", "msd_liver", "msd_pancreas", "msd_spleen", "kits19")
TRIES = 20  # random draws of each transformation

Voxels = np.ndarray


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def patients() -> dict[str, Volume]:
    """The real CTs and ten phantoms."""
    images = {name: read_volume(DATA / name / "image.nii.gz") for name in REAL}
    for seed, dataset in product(range(2), PHANTOMS):
        rng = np.random.default_rng((seed, len(dataset)))
        patient = draw_patient(rng)
        scan = plan_scan(dataset, rng, spacing_mm=(2.0, 3.0))
        hu, _ = render(patient, scan.grid, contrast=scan.contrast)
        images[f"phantom {dataset} {seed}"] = Volume(acquire(hu, scan, rng), scan.grid)
    return images


def crop(hu: Voxels, rng: np.random.Generator, shares: tuple[float, float, float]) -> Voxels:
    """A random box of so much of each axis."""
    sizes = [max(1, round(n * share)) for n, share in zip(hu.shape, shares, strict=True)]
    starts = [rng.integers(0, n - size + 1) for n, size in zip(hu.shape, sizes, strict=True)]
    return hu[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]


def turned(hu: Voxels, rng: np.random.Generator) -> Voxels:
    """Turned and flipped at random."""
    order = list(permutations(range(3)))[rng.integers(6)]
    return np.flip(hu.transpose(order), np.flatnonzero(rng.integers(0, 2, 3)).tolist())


def everything(hu: Voxels, rng: np.random.Generator) -> Voxels:
    """Two thirds of the slices, turned, with an offset, clipped and noisy."""
    noisy = turned(crop(hu, rng, (0.67, 1, 1)), rng) + rng.normal(0, 5, 1) + 1024
    return (noisy + rng.normal(0, 5, noisy.shape)).clip(24, 2024)


TRANSFORMATIONS: dict[str, Callable[[Voxels, np.random.Generator], Voxels]] = {
    "axes permuted and flipped": turned,
    "HU + 1024": lambda hu, _: hu + 1024,
    "float, off by 0.3 HU": lambda hu, rng: hu + rng.uniform(-0.3, 0.3, hu.shape),
    "clipped to -1000..1000": lambda hu, _: hu.clip(-1000, 1000),
    "clipped to -200..300": lambda hu, _: hu.clip(-200, 300),
    "noise of 5 HU": lambda hu, rng: hu + rng.normal(0, 5, hu.shape),
    "noise of 10 HU": lambda hu, rng: hu + rng.normal(0, 10, hu.shape),
    "noise of 20 HU": lambda hu, rng: hu + rng.normal(0, 20, hu.shape),
    "blurred by half a voxel": lambda hu, _: ndimage.gaussian_filter(hu, 0.5),
    "in-plane crop to 70 %": lambda hu, rng: crop(hu, rng, (1, 0.7, 0.7)),
    "in-plane crop to 50 %": lambda hu, rng: crop(hu, rng, (1, 0.5, 0.5)),
    "40 slices": lambda hu, rng: crop(hu, rng, (40 / len(hu), 1, 1)),
    "30 slices": lambda hu, rng: crop(hu, rng, (30 / len(hu), 1, 1)),
    "20 slices": lambda hu, rng: crop(hu, rng, (20 / len(hu), 1, 1)),
    "15 slices": lambda hu, rng: crop(hu, rng, (15 / len(hu), 1, 1)),
    "12 slices": lambda hu, rng: crop(hu, rng, (12 / len(hu), 1, 1)),
    "several changes combined": everything,
}
SPACINGS_MM = ((1.5, 1.5, 1.5), (1.5, 1.5, 3.0), (2.0, 2.0, 2.0), (3.0, 3.0, 5.0), (0.8, 0.8, 1.0))


def image_of(hu: Voxels) -> Volume:
    """A volume whose header says nothing."""
    return Volume(np.ascontiguousarray(hu, np.float32), Grid(hu.shape[::-1], (1.0, 1.0, 1.0)))


def resampled(image: Volume, spacing_mm: tuple[float, ...]) -> Volume:
    """Resampled in space, the first voxel in place."""
    grid = image.grid
    extent = (np.array(grid.size_xyz) - 1) * grid.spacing_mm
    size = [int(n) for n in np.floor(extent / spacing_mm + 1e-6) + 1]
    how = (sitk.Transform(), sitk.sitkLinear)
    place = (grid.origin_mm, spacing_mm, grid.direction_lps)
    return Volume.of(sitk.Resample(grid.image(image.voxels), size, *how, *place, -1024.0))


def votes(first: Fingerprint, second: Fingerprint) -> int:
    """Those of the match of two CTs; 0 for none."""
    return max((m.votes for m in find_matches([first, second])), default=0)


def copies(hu: Voxels, name: str) -> Iterator[Volume]:
    """Random copies by one transformation."""
    for seed in range(TRIES):
        yield image_of(TRANSFORMATIONS[name](hu, np.random.default_rng(seed)))


def measure_patients(images: dict[str, Volume]) -> None:
    """Print votes within and between patients."""
    prints = {name: Fingerprint.of(image) for name, image in images.items()}
    between = [votes(prints[a], prints[b]) for a, b in combinations(prints, 2)]
    say(f"{len(between)} pairs of different patients: most votes {max(between)}")
    slab = read_volume(DATA / "example_ct_sm" / "image.nii.gz")
    say(f"example_ct_sm in example_ct: {votes(prints[REAL[0]], Fingerprint.of(slab))} votes")
    say(f"{'':26}{'real: found, votes':>30}{'phantoms':>24}{'false':>8}")
    for name in TRANSFORMATIONS:
        own: dict[bool, list[int]] = {True: [], False: []}
        false = []
        for patient, image in images.items():
            hu = image.voxels.astype(np.float32)
            if name.endswith("slices") and int(name.split()[0]) >= len(hu):
                continue
            for number, copy in enumerate(copies(hu, name)):
                if patient not in REAL and number >= 2:
                    break
                found = Fingerprint.of(copy)
                own[patient in REAL].append(votes(prints[patient], found))
                false += [votes(prints[p], found) for p in prints if p != patient]
        cells = [
            f"{np.mean(np.array(v) >= LEAST_VOTES):7.1%} {min(v):4}{np.median(v):7.1f}"
            for v in (own[True], own[False])
        ]
        wrong = sum(v >= LEAST_VOTES for v in false)
        say(f"{name:26}{cells[0]:>30}{cells[1]:>24}{f'{wrong}/{len(false)}':>10}")
    for spacing in SPACINGS_MM:
        found = [votes(prints[p], Fingerprint.of(resampled(i, spacing))) for p, i in images.items()]
        say(f"resampled to {spacing}: votes {found}")


def without_header(image: Volume, spacing_mm: tuple[float, ...]) -> Voxels:
    """Resampled voxels alone."""
    return resampled(image, spacing_mm).voxels.astype(np.float32)


WITHOUT_HEADER: dict[str, Callable[[Volume, np.random.Generator], Voxels]] = {
    **{
        f"to {' x '.join(map(str, mm))} mm": lambda image, _, mm=mm: without_header(image, mm)
        for mm in SPACINGS_MM
    },
    "to 128 x 128 x 128 voxels": lambda image, _: ndimage.zoom(
        image.voxels.astype(np.float32), 128 / np.array(image.voxels.shape), order=1
    ),
    "axes permuted and flipped": lambda image, rng: turned(without_header(image, ISO_MM), rng),
    "clipped to -200..300, noise of 20 HU": lambda image, rng: (
        lambda hu: (hu + rng.normal(0, 20, hu.shape)).clip(-200, 300)
    )(without_header(image, ISO_MM)),
    "80 % of the slices": lambda image, rng: crop(without_header(image, ISO_MM), rng, (0.8, 1, 1)),
    "60 % of the slices": lambda image, rng: crop(without_header(image, ISO_MM), rng, (0.6, 1, 1)),
    "40 % of the slices": lambda image, rng: crop(without_header(image, ISO_MM), rng, (0.4, 1, 1)),
    "30 % of the slices": lambda image, rng: crop(without_header(image, ISO_MM), rng, (0.3, 1, 1)),
    "in-plane crop to 90 %": lambda i, rng: crop(without_header(i, ISO_MM), rng, (1, 0.9, 0.9)),
    "in-plane crop to 80 %": lambda i, rng: crop(without_header(i, ISO_MM), rng, (1, 0.8, 0.8)),
    "in-plane crop to 60 %": lambda i, rng: crop(without_header(i, ISO_MM), rng, (1, 0.6, 0.6)),
    "several changes combined": lambda i, rng: everything(without_header(i, ISO_MM), rng) - 1024,
}
ISO_MM = (2.0, 2.0, 2.0)


def measure_without_header(images: dict[str, Volume], tries: int = 3) -> None:
    """Print how many copies are found that were resampled and lost their headers."""
    names = list(images)
    prints = [Fingerprint.of(image) for image in images.values()]
    for what, change in WITHOUT_HEADER.items():
        own, wrong, pairs = {True: [], False: []}, 0, 0
        for number, (name, image) in enumerate(images.items()):
            for seed in range(tries):
                copy = Fingerprint.of(image_of(change(image, np.random.default_rng(seed))))
                found = {m.first for m in find_matches([*prints, copy], second_from=len(names))}
                own[name in REAL].append(number in found)
                wrong += len(found - {number})
                pairs += len(names) - 1
        cells = [f"{sum(f)} of {len(f)}" for f in (own[True], own[False])]
        say(f"without header, {what:40}{cells[0]:>12}{cells[1]:>14}{f'{wrong}/{pairs}':>12}")


def measure_neighbours(images: dict[str, Volume]) -> None:
    """Print matches among the disjoint blocks of the real CTs, which must have none."""
    blocks = []
    for name, parts in zip(REAL, ((6, 2, 2), (1, 5, 5)), strict=True):
        hu = images[name].voxels
        for index in product(*map(range, parts)):
            edges = [
                (n * i // k, n * (i + 1) // k)
                for n, i, k in zip(hu.shape, index, parts, strict=True)
            ]
            blocks.append(Fingerprint.of(image_of(hu[tuple(slice(*e) for e in edges)])))
    found = len(find_matches(blocks))
    count = sum(len(b.on_voxels.code) for b in blocks) / len(blocks)
    pairs = len(blocks) * (len(blocks) - 1) // 2
    say(f"{pairs} pairs of disjoint blocks, {count:.0f} keypoints each: {found} matches")


def measure_time() -> None:
    """Print seconds of a usual size, on one core."""
    hu = read_volume(DATA / REAL[1] / "image.nii.gz").voxels
    big = np.concatenate([np.roll(hu, 7 * i, 1) for i in range(8)])[:150].astype(np.int16)
    image = Volume(big, Grid(big.shape[::-1], (0.8, 0.8, 3.0)))
    for what, run in (
        ("on voxels", lambda: find_keypoints(big, most=128)),
        ("whole", lambda: Fingerprint.of(image)),
    ):
        seconds = []
        for _ in range(3):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        say(f"512 x 512 x 150, {what}: {np.median(seconds):.2f} s of CPU")


def measure_others(count: int) -> None:
    """Print false matches among patients, and between them and a turned part of each of them."""
    wholes, parts = [], []
    for seed in range(count):
        rng = np.random.default_rng((seed, 7))
        scan = plan_scan(PHANTOMS[seed % len(PHANTOMS)], rng, spacing_mm=(2.0, 3.0))
        hu, _ = render(draw_patient(rng), scan.grid, contrast=scan.contrast)
        image = Volume(acquire(hu, scan, rng), scan.grid)
        part = turned(crop(without_header(image, ISO_MM), rng, (0.6, 1, 1)), rng)
        wholes.append(Fingerprint.of(image))
        parts.append(Fingerprint.of(image_of(part)))
    among = len(find_matches(wholes))
    across = find_matches([*wholes, *parts], second_from=count)
    own = sum(m.second - m.first == count for m in across)
    say(f"{count * (count - 1) // 2} pairs of phantoms: {among} matches")
    say(f"each with a resampled part of each: {own} of {count} found, {len(across) - own} false")


def measure_many(count: int) -> None:
    """Print the time to find all matches of simulated cases, of which every tenth has a part."""
    start = time.perf_counter()
    fingerprints, related = simulated(count)
    say(f"{count} cases simulated in {time.perf_counter() - start:.0f} s")
    start, cpu = time.perf_counter(), time.process_time()
    found = {(m.first, m.second) for m in find_matches(fingerprints)}
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    say(
        f"matched in {seconds:.1f} s ({cpu:.1f} s of CPU): {len(found & related)} of "
        f"{len(related)} found, {len(found - related)} false"
    )
    text = [len(f.to_text()) for f in fingerprints]
    say(f"at most {max(text)} bytes a case in the manifest")


if __name__ == "__main__":
    measure_time()
    measure_many(1_000)
    measure_many(10_000)
    everybody = patients()
    measure_neighbours(everybody)
    measure_without_header(everybody)
    measure_others(145)
    measure_patients(everybody)
