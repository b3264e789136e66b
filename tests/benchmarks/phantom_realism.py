"""How like patients the phantom is: the same measurements on labelled CTs and on drawn patients.

Each structure is measured on voxels of 3 mm: its volume, its Hounsfield units away from its
surface, how much of what lies around it looks the same, how much of its surface touches another
organ, and how far its edge is smeared. Hounsfield units are compared with those of phantoms in
the same phase of contrast, all else with phantoms in any. The facts are written as TOML, with the
number of patients behind each; phantom_facts.toml has those that the phantom's recipe was fixed by.

    python -m tests.benchmarks.phantom_realism ../shared/data --out facts.toml [--patients 15]
        [--ircad FOLDER] [--chaos FOLDER]

The folder has `totalsegmentator/example_ct` and `example_ct_dicom`, whose labels are a model's, and
the masks of `kits19`, of which the volumes are taken. `--ircad` is one patient of 3D-IRCADb, as
published: `PATIENT_DICOM` and `MASKS_DICOM`, of which the liver and the portal vein are taken;
other masks hold branches that `abdomen13` does not count. `--chaos` is one of CHAOS: `DICOM_anon`
and `Ground`, the liver. The phantoms are scanned as the five datasets are, in turn, on voxels of
3 mm.
"""

import argparse
import itertools
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from curate.phantom.acquisition import acquire, plan_scan
from curate.phantom.datasets import phantom_datasets
from curate.phantom.patient import STRUCTURES, draw_patient, render
from manifests.classes.label_space import load_label_space
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume, read_volume
from tests.real.labelled_ct import harmonised_ct, kidney_masks

SPACE = load_label_space("abdomen13")
ORGANS = SPACE.names[1:]
VOXEL_MM = 3.0
SPACING_MM = (VOXEL_MM, VOXEL_MM, VOXEL_MM)
AROUND_MM = 6.0
FAT_HU = -60.0
ENOUGH_VOXELS = 30
ENOUGH_PATIENTS = 3  # for a spread between them
MOST_SHOWN = 4  # patients whose values are told one by one
OF_ANY_PHASE = frozenset({"volume_ml", "touches_organ", "edge_mm", "noise_hu", "noise_next"})
BINS = np.arange(-200.0, 401.0, 5.0)

Hu = NDArray[np.floating]
Ids = NDArray[np.integer]
Facts = dict[str, dict[str, float]]  # of each structure, by the measurement's name
Phase = Literal["unenhanced", "portal_venous"]

CONTRAST: Mapping[Phase, tuple[float, float, float]] = MappingProxyType(
    {"unenhanced": (1.0, 0.0, 0.0), "portal_venous": (0.0, 0.0, 1.0)}
)
# As the aorta shows: 44 and 163 HU.
EXAMPLES: Mapping[str, Phase] = MappingProxyType(
    {"example_ct": "unenhanced", "example_ct_dicom": "portal_venous"}
)


def measure(hu: Hu, ids: Ids) -> Facts:
    """Measure every structure of a scan.

    Args:
        hu: Hounsfield units [z, y, x] on voxels of 3 mm.
        ids: Class ids of the label space `abdomen13`, on the same voxels.
    """
    facts: Facts = defaultdict(dict)
    inner = {n: _eroded(ids == n) for n in range(1, len(SPACE))}
    for n, organ in enumerate(ORGANS, start=1):
        core = hu[inner[n]]
        if core.size < ENOUGH_VOXELS:
            continue
        mask = ids == n
        mean, spread = float(core.mean()), float(core.std())
        found = facts[organ]
        found["hu_mean"], found["hu_spread"] = mean, spread
        if not _is_cut(mask):
            found["volume_ml"] = float(mask.sum()) * VOXEL_MM**3 / 1000.0
        near = np.asarray(ndimage.distance_transform_edt(~mask, SPACING_MM)) <= AROUND_MM
        around = hu[near & ~mask]
        found["alike_around"] = float((np.abs(around - mean) < 2.0 * spread).mean())
        found["touches_organ"], by_neighbour = _contact(ids, n)
        if by_neighbour:
            likest = max(_overlap(core, hu[inner[m]]) for m in by_neighbour if inner[m].any())
            found["overlap_with_neighbour"] = likest
        if (width := _edge_mm(hu, mask)) is not None:
            found["edge_mm"] = width
    facts["scan"] = _noise(hu, ids == ORGANS.index("liver") + 1)
    return dict(facts)


def _eroded(mask: NDArray[np.bool_], times: int = 1) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_erosion(mask, iterations=times), dtype=bool)


def _is_cut(mask: NDArray[np.bool_]) -> bool:
    return any(mask.take(end, axis).any() for axis in range(3) for end in (0, -1))


def _faces(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Yield the axis, the way out and the inner voxels [count, 3] of the mask's faces."""
    for axis, way in itertools.product(range(3), (-1, 1)):
        outside = np.roll(~mask, -way, axis)
        yield axis, way, np.argwhere(mask & outside)


def _along(values: NDArray, voxels: NDArray[np.intp], axis: int, step: int) -> NDArray:
    """Return the values so many voxels away, those at the image's border for what is beyond it."""
    there = voxels.copy()
    there[:, axis] = np.clip(there[:, axis] + step, 0, values.shape[axis] - 1)
    return values[tuple(there.T)]


def _contact(ids: Ids, n: int) -> tuple[float, set[int]]:
    """Return the share of a class's faces that touch another class, and the classes touched."""
    beyond = [_along(ids, at, axis, way) for axis, way, at in _faces(ids == n)]
    others = np.concatenate(beyond)
    others = others[others != n]  # faces on the image's border
    touched = others[others != 0]
    counts = np.bincount(touched, minlength=len(SPACE))
    return float(touched.size / max(others.size, 1)), {int(m) for m in np.flatnonzero(counts > 10)}


def _overlap(one: Hu, other: Hu) -> float:
    """Return the common area of two histograms, 1 for equal ones."""
    first, second = (np.histogram(np.clip(v, BINS[0], BINS[-1]), BINS)[0] for v in (one, other))
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def _edge_mm(hu: Hu, mask: NDArray[np.bool_]) -> float | None:
    """Return over how many mm the mean edge towards fat goes from 10 to 90 % of its height."""
    steps = range(-2, 4)
    rows = []
    for axis, way, voxels in _faces(mask):
        at = voxels[
            _along(mask, voxels, axis, -2 * way) & (_along(hu, voxels, axis, 3 * way) < FAT_HU)
        ]
        rows.append(np.stack([_along(hu, at, axis, step * way) for step in steps], axis=1))
    profiles = np.concatenate(rows)
    if len(profiles) < ENOUGH_VOXELS:
        return None
    profile = profiles.mean(axis=0)
    height = (profile - profile[-1]) / (profile[0] - profile[-1])
    falling = np.maximum.accumulate(height[::-1])
    places = np.interp((0.1, 0.9), falling, np.arange(len(falling)) * VOXEL_MM)
    return float(places[1] - places[0])


def _noise(hu: Hu, liver: NDArray[np.bool_]) -> dict[str, float]:
    """Return the noise in the liver (HU) and how alike it is one voxel on within a slice."""
    inside = _eroded(liver, 3)
    if inside.sum() < ENOUGH_VOXELS:
        return {}
    within_slice = ndimage.uniform_filter1d(ndimage.uniform_filter1d(hu, 5, axis=1), 5, axis=2)
    rough = hu - within_slice
    both = inside & np.roll(inside, 1, axis=2)
    pairs = np.stack([rough[both], np.roll(rough, 1, axis=2)[both]])
    alike = np.asarray(np.corrcoef(pairs))[0, 1]
    return {"noise_hu": float(rough[inside].std()), "noise_next": float(alike)}


def drawn(patients: int, phase: Phase) -> Iterator[Facts]:
    """Yield the facts of phantoms in one phase, of the five datasets in turn."""
    table = np.zeros(256, np.uint8)
    for value, name in enumerate(STRUCTURES, start=1):
        table[value] = SPACE.class_of.get(name, 0)
    for seed, dataset in zip(range(patients), itertools.cycle(phantom_datasets())):
        rng = np.random.default_rng(seed)
        patient = draw_patient(rng)
        scan = plan_scan(dataset, rng, spacing_mm=(VOXEL_MM, VOXEL_MM))
        hu, structures = render(patient, scan.grid, contrast=CONTRAST[phase])
        yield measure(acquire(hu, scan, rng), table[structures])


def real(data: Path, folders: Mapping[str, Path | None], phase: Phase) -> Iterator[Facts]:
    """Yield the facts of the labelled CTs of one phase, and of masks without an image."""
    for name in (name for name, its in EXAMPLES.items() if its == phase):
        image, ids = harmonised_ct(data / "totalsegmentator" / name, SPACE, SPACING_MM)
        yield measure(image.voxels.astype(np.float64), ids)
    if phase == "portal_venous":
        yield from map(_kidney_volumes, kidney_masks(data, SPACING_MM))  # whatever their phase
        for name, read in (("ircad", ircad_patient), ("chaos", chaos_patient)):
            if (folder := folders.get(name)) is not None:
                yield measure(*_harmonised(*read(folder)))


def _kidney_volumes(sides: Ids) -> Facts:
    masks = {organ: sides == value for value, organ in ((1, "left_kidney"), (2, "right_kidney"))}
    return {
        organ: {"volume_ml": float(mask.sum()) * VOXEL_MM**3 / 1000.0}
        for organ, mask in masks.items()
        if mask.any() and not _is_cut(mask)
    }


def ircad_patient(folder: Path) -> tuple[Volume, Ids]:
    """Read a patient of 3D-IRCADb: the image in HU and the ids of `abdomen13` on its grid."""
    image = read_volume(folder / "PATIENT_DICOM")
    ids = np.zeros(image.voxels.shape, np.uint8)
    for name, mask in (("liver", "liver"), ("portal_and_splenic_vein", "portalvein")):
        ids[read_volume(folder / "MASKS_DICOM" / mask).voxels > 0] = SPACE.class_of[name]
    return to_hounsfield(image, folder), ids


def chaos_patient(folder: Path) -> tuple[Volume, Ids]:
    """Read a patient of CHAOS, whose pictures go by the names of its files, from head to foot."""
    image = to_hounsfield(read_volume(folder / "DICOM_anon"), folder)
    pictures = [np.asarray(Image.open(p)) for p in sorted((folder / "Ground").glob("*.png"))]
    liver = np.stack(pictures)[::-1] > 0
    return image, liver.astype(np.uint8) * np.uint8(SPACE.class_of["liver"])


def _harmonised(image: Volume, ids: Ids) -> tuple[Hu, Ids]:
    grid = harmonised_grid(image.grid, SPACING_MM)
    voxels = resample_image(image, grid).voxels
    return voxels.astype(np.float64), resample_label(Volume(ids, image.grid), grid).voxels


Gathered = Mapping[tuple[str, str], list[float]]  # by structure and measurement


def gather(patients: Iterable[Facts]) -> Gathered:
    """Return the values over the patients of each structure's measurement."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for facts in patients:
        for structure, found in facts.items():
            for name, value in found.items():
                values[structure, name].append(value)
    return values


def in_any_phase(gathered: Iterable[Gathered]) -> Gathered:
    """Return the values that do not depend on the contrast, of all phases together."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for of_phase in gathered:
        for key, found in of_phase.items():
            if key[1] in OF_ANY_PHASE:
                values[key] += found
    return values


def in_its_phase(gathered: Gathered) -> Gathered:
    """Return the values that depend on the contrast."""
    return {key: found for key, found in gathered.items() if key[1] not in OF_ANY_PHASE}


def as_toml(gathered: Gathered, phase: str) -> str:
    """Return mean, standard deviation (if there are two) and number of patients of each fact."""
    lines = []
    for structure in dict.fromkeys(structure for structure, _ in gathered):
        lines.append(f"\n[{phase}.{structure}]")
        for (of, name), values in gathered.items():
            if of != structure:
                continue
            spread = f", sd = {stdev(values):.4g}" if len(values) > 1 else ""
            lines.append(
                f"{name} = {{ mean = {fmean(values):.4g}{spread}, patients = {len(values)} }}"
            )
    return "\n".join(lines).lstrip() + "\n"


def as_table(patients: Gathered, phantoms: Gathered) -> str:
    """Return a Markdown table of patients beside phantoms, furthest apart first.

    How far apart they are is told in standard deviations of the patients if there are three or
    more, else of the phantoms.
    """
    rows = []
    for (structure, name), values in phantoms.items():
        there = patients.get((structure, name))
        if there is None or len(values) < 2:
            continue
        mean, spread = fmean(values), stdev(values)
        unit = stdev(there) if len(there) >= ENOUGH_PATIENTS else spread
        apart = (fmean(there) - mean) / unit if unit else math.inf
        shown = ", ".join(f"{v:.3g}" for v in there)
        if len(there) > MOST_SHOWN:
            shown = f"{fmean(there):.3g} ± {stdev(there):.2g} (n = {len(there)})"
        row = f"| {structure} | {name} | {shown} | {mean:.3g} ± {spread:.2g} | {apart:+.1f} |"
        rows.append((abs(apart), row))
    head = "| structure | measurement | patients | phantom | apart, in SD |\n" + "|---" * 5 + "|"
    return "\n".join([head, *(row for _, row in sorted(rows, reverse=True))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=15)
    parser.add_argument("--ircad", type=Path)
    parser.add_argument("--chaos", type=Path)
    wanted = parser.parse_args()
    folders = {"ircad": wanted.ircad, "chaos": wanted.chaos}
    patients = {phase: gather(real(wanted.data, folders, phase)) for phase in CONTRAST}
    phantoms = {phase: gather(drawn(wanted.patients, phase)) for phase in CONTRAST}
    chapters = {
        "any_phase": (in_any_phase(patients.values()), in_any_phase(phantoms.values())),
        **{
            phase: (in_its_phase(patients[phase]), in_its_phase(phantoms[phase]))
            for phase in CONTRAST
        },
    }
    for name, (of_patients, of_phantoms) in chapters.items():
        sys.stdout.write(f"{name}\n\n{as_table(of_patients, of_phantoms)}\n\n")
    written = [as_toml(of_patients, name) for name, (of_patients, _) in chapters.items()]
    wanted.out.write_text("\n".join(written), encoding="utf-8")


if __name__ == "__main__":
    main()
