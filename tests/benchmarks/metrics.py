"""Time the metrics of five organs beside MONAI and surface-distance, and see how far apart all are.

    OMP_NUM_THREADS=1 python tests/benchmarks/metrics.py [--rounds 7] [--accuracy]

A phantom's liver, spleen, pancreas and kidneys in 125 x 273 x 273 voxels, and the same organs bent
as the prediction, without and with a stray island each (which makes the box around an organ large).
Every contender has one thread and its own kind of input made ready beforehand (marginalia: the two
label maps). It is called in turn, round by round, and the median of its processor time counts.
`pip install surface-distance` for DeepMind's row.

`--accuracy` measures balls whose distances are known, for the choice of a surface in
docs/reference/metrics.md.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import SimpleITK as sitk
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from scipy.spatial import KDTree

from curate.phantom.patient import STRUCTURES, draw_patient, render
from manifests.classes.label_space import load_label_space
from manifests.table.case import Case
from manifests.volumes.grid import Grid
from train.scoring.case_scores import score_case
from train.scoring.metrics import measure
from train.scoring.surfaces import surface

try:
    import surface_distance as deepmind
except ImportError:
    deepmind = None

SIZE_XYZ, SPACING_MM = (273, 273, 125), (1.5, 1.5, 3.0)
SPACING_ZYX = SPACING_MM[::-1]
TOLERANCE_MM = 3.0
SPACE = load_label_space("abdomen5")
METRICS = ("HD", "HD95", "ASSD", "NSD")

Masks = list[tuple[np.ndarray, np.ndarray]]  # prediction and truth of each organ


def draw(seed: int, *, islands: bool) -> tuple[np.ndarray, np.ndarray]:
    """Class ids of a prediction and of the truth."""
    rng = np.random.default_rng(seed)
    origin_mm = tuple(-(n - 1) / 2 * s for n, s in zip(SIZE_XYZ, SPACING_MM, strict=True))
    _, structures = render(draw_patient(rng), Grid(SIZE_XYZ, SPACING_MM, origin_mm))
    lookup = np.array([0, *(SPACE.class_of.get(name, 0) for name in STRUCTURES)], np.uint8)
    truth = lookup[structures]
    bends = [_smooth(rng, truth.shape, 8) * 2.5 / s for s in SPACING_ZYX]  # mm
    where = [i + bend for i, bend in zip(np.indices(truth.shape), bends, strict=True)]
    prediction = ndimage.map_coordinates(truth, where, order=0)
    for n in range(1, len(SPACE) if islands else 1):
        z, y, x = (int(rng.integers(5, size - 10)) for size in truth.shape)
        prediction[z : z + 2, y : y + 3, x : x + 3] = n
    return prediction, truth


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> np.ndarray:
    """A field of unit variance that bends every `step` voxels."""
    coarse = rng.standard_normal([n // step + 4 for n in shape])
    where = np.meshgrid(*(np.arange(n) / step + 1 for n in shape), indexing="ij")
    field = ndimage.map_coordinates(coarse, where, order=3)
    return field / field.std()


def contenders(prediction: np.ndarray, truth: np.ndarray) -> dict[str, Callable[[], object]]:
    """Each contender by its name."""
    case = Case(
        **{
            **dict.fromkeys(Case.__dataclass_fields__, ""),
            "fold": None,
            "merged": tuple(range(len(SPACE))),
            "spacing_mm": SPACING_MM,
        }
    )
    masks = organs(prediction, truth)
    found, labelled = (
        torch.from_numpy(np.stack(m)[None]).float() for m in zip(*masks, strict=True)
    )
    how = {"include_background": True, "spacing": SPACING_ZYX}

    def monai() -> None:
        compute_hausdorff_distance(found, labelled, **how)
        compute_hausdorff_distance(found, labelled, percentile=95, **how)
        compute_surface_dice(found, labelled, [TOLERANCE_MM] * len(masks), **how)

    rows: dict[str, Callable[[], object]] = {
        "marginalia: Dice, IoU, HD, HD95, ASSD, NSD, volumes": lambda: score_case(
            prediction, truth, case, SPACE.names, tolerance_mm=TOLERANCE_MM
        ),
        "MONAI: HD, HD95, NSD": monai,
    }
    if deepmind:
        rows["surface-distance: HD, HD95, ASSD, NSD"] = lambda: [of_deepmind(*m) for m in masks]
    return rows


def organs(prediction: np.ndarray, truth: np.ndarray) -> Masks:
    """Masks of each class."""
    return [(prediction == n, truth == n) for n in range(1, len(SPACE))]


def time_all(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor time of each, in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in rows.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


# --- the same four metrics by other programs --------------------------------------------------

Four = tuple[float, float, float, float]  # HD, HD95, ASSD, NSD


def of_marginalia(one: np.ndarray, other: np.ndarray, spacing_zyx: tuple = SPACING_ZYX) -> Four:
    """Ours."""
    found = measure(one, other, spacing_mm=spacing_zyx[::-1], tolerance_mm=TOLERANCE_MM)
    return tuple(found.values())[2:]


def of_monai(one: np.ndarray, other: np.ndarray, *, use_subvoxels: bool = False) -> Four:
    """MONAI's; with subvoxels, its NSD is of surface elements at the voxels' corners."""
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    how = {"include_background": True, "spacing": SPACING_ZYX}
    return (
        compute_hausdorff_distance(*pair, **how).item(),
        compute_hausdorff_distance(*pair, percentile=95, **how).item(),
        compute_average_surface_distance(*pair, symmetric=True, **how).item(),
        compute_surface_dice(*pair, [TOLERANCE_MM], use_subvoxels=use_subvoxels, **how).item(),
    )


def of_deepmind(one: np.ndarray, other: np.ndarray, spacing_zyx: tuple = SPACING_ZYX) -> Four:
    """DeepMind's surface-distance; ASSD by pooling its two averages by area."""
    found = deepmind.compute_surface_distances(other, one, spacing_zyx)
    areas = [found[f"surfel_areas_{side}"].sum() for side in ("gt", "pred")]
    return (
        deepmind.compute_robust_hausdorff(found, 100),
        deepmind.compute_robust_hausdorff(found, 95),
        float(np.average(deepmind.compute_average_surface_distance(found), weights=areas)),
        deepmind.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
    )


def of_trees(one: np.ndarray, other: np.ndarray) -> Four:
    """The definition, with SciPy's erosion and a tree for every distance."""
    points = [np.argwhere(m & ~ndimage.binary_erosion(m)) * SPACING_ZYX for m in (one, other)]
    there, back = (KDTree(b).query(a)[0] for a, b in (points, points[::-1]))
    both = np.concatenate([there, back])
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return both.max(), hd95, both.mean(), float(np.mean(both <= TOLERANCE_MM))


def of_simpleitk(one: np.ndarray, other: np.ndarray) -> Four:
    """SimpleITK's Hausdorff distance, which is of the masks and not of their surfaces."""
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (one, other)]
    for image in images:
        image.SetSpacing(SPACING_MM)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    return hausdorff.GetHausdorffDistance(), np.nan, np.nan, np.nan


def largest_differences(masks: Masks) -> Iterator[tuple[str, np.ndarray]]:
    """The largest difference of each metric to ours over masks, by program."""
    others = {
        "definition (SciPy erosion and trees)": of_trees,
        "MONAI": of_monai,
        "MONAI, NSD of surface elements": lambda a, b: of_monai(a, b, use_subvoxels=True),
        "SimpleITK": of_simpleitk,
    }
    if deepmind:
        others["surface-distance"] = of_deepmind
    ours = np.array([of_marginalia(*pair) for pair in masks])
    for name, metrics in others.items():
        theirs = np.array([metrics(*pair) for pair in masks])
        yield name, np.abs(theirs - ours).max(axis=0)


# --- balls whose distances are known ----------------------------------------------------------


def errors_on_balls(spacing_zyx: tuple[float, ...], pairs: int = 40) -> dict[str, np.ndarray]:
    """Errors [pairs, metrics] on two balls of nearly one size, nearly one centre."""
    rng = np.random.default_rng(1)
    shape = [int(np.ceil(100 / s)) for s in spacing_zyx]
    voxels = np.stack(np.indices(shape), -1) * spacing_zyx
    programs = {"voxels (MONAI, marginalia)": of_marginalia}
    if deepmind:
        programs["surface elements (DeepMind)"] = of_deepmind
    errors: dict[str, list[np.ndarray]] = {name: [] for name in programs}
    for _ in range(pairs):
        centre, step = 50 + rng.uniform(-3, 3, 3), rng.normal(size=3)
        centres = [centre, centre + step / np.linalg.norm(step) * rng.uniform(0, 5)]
        radii = rng.uniform(12, 25) + np.array([0, rng.uniform(-4, 4)])
        balls = [
            np.linalg.norm(voxels - c, axis=-1) <= r for c, r in zip(centres, radii, strict=True)
        ]
        truth = np.array(_true_distances(centres, radii))
        for name, metrics in programs.items():
            errors[name].append(np.array(metrics(*balls, spacing_zyx)) - truth)
    return {name: np.array(found) for name, found in errors.items()}


def _true_distances(centres: list[np.ndarray], radii: np.ndarray, points: int = 20_000) -> Four:
    # evenly spread points of a sphere: Fibonacci's
    i = np.arange(points) + 0.5
    height, turn = 1 - 2 * i / points, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - height**2)
    sphere = np.column_stack([np.cos(turn) * ring, np.sin(turn) * ring, height])
    directed = [
        np.abs(np.linalg.norm(centres[a] + radii[a] * sphere - centres[b], axis=1) - radii[b])
        for a, b in ((0, 1), (1, 0))
    ]
    area = radii**2 / (radii**2).sum()
    return (
        max(d.max() for d in directed),
        max(np.percentile(d, 95) for d in directed),
        sum(a * d.mean() for a, d in zip(area, directed, strict=True)),
        sum(a * np.mean(d <= TOLERANCE_MM) for a, d in zip(area, directed, strict=True)),
    )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accuracy", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    console = Console(width=110)
    if options.accuracy:
        for spacing_zyx in ((3.0, 1.5, 1.5), (1.5, 1.5, 1.5), (5.0, 0.8, 0.8)):
            table = Table("surface", *METRICS, title=f"bias and RMSE, mm; {spacing_zyx} mm")
            for name, found in errors_on_balls(spacing_zyx).items():
                both = zip(found.mean(0), np.sqrt((found**2).mean(0)), strict=True)
                table.add_row(name, *(f"{bias:+.2f}  {rmse:.2f}" for bias, rmse in both))
            console.print(table)
        return
    for islands in (False, True):
        prediction, truth = draw(options.seed, islands=islands)
        report(prediction, truth, options.rounds, console)


def report(prediction: np.ndarray, truth: np.ndarray, rounds: int, console: Console) -> None:
    """Print the organs, the times and the differences."""
    masks = organs(prediction, truth)
    for name, (one, other) in zip(SPACE.names[1:], masks, strict=True):
        dice = 2 * (one & other).sum() / (one.sum() + other.sum())
        points = int(surface(other).sum())
        console.print(f"{name}: {other.sum()} voxels, {points} of surface, Dice {dice:.3f}")
    seconds = time_all(contenders(prediction, truth), rounds)
    first = next(iter(seconds.values()))
    table = Table("five organs, one thread", "ms", "times marginalia")
    for name, median in seconds.items():
        table.add_row(name, f"{1000 * median:.0f}", f"{median / first:.1f}")
    console.print(table)
    table = Table("largest difference to marginalia", *METRICS)
    for name, found in largest_differences(masks):
        table.add_row(name, *("" if np.isnan(d) else f"{d:.2g}" for d in found))
    console.print(table)


if __name__ == "__main__":
    main()
