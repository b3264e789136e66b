"""Which values the labels of some cases hold, and how much of each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.datasets.discover import SourceCase
from curate.labels.label_files import whole_numbers
from curate.labels.scanned_slices import grid_of_label
from curate.recipes.layouts import SegmentsLayout
from curate.slicer_labels.segmented_label import open_segmented
from manifests.ground.findings import SetAsideError
from manifests.volumes.readers.repairs import OF_LABELS
from manifests.volumes.volume import read_volume


@dataclass(frozen=True)
class LabelValues:
    """What labels hold.

    Attributes:
        volumes_ml: By value, or by the name of a mask file, the volume in each case that has it.
    """

    cases: int
    volumes_ml: dict[int | str, tuple[float, ...]]
    problems: tuple[str, ...]

    def describe(self, value: int | str) -> str:
        """Say in how many labels a value is, and how much of it."""
        size = f", {self.median_ml(value)} mL" if self.labels(value) else ""
        return f"in {self.labels(value)} of {self.cases} labels{size}"

    def median_ml(self, value: int | str) -> str:
        """Return the median volume to three digits, as in 1,790; empty if no label has it."""
        if not self.labels(value):
            return ""
        rounded = float(f"{np.median(self.volumes_ml[value]):.3g}")
        return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"

    def labels(self, value: int | str) -> int:
        """Return the number of labels that have a value."""
        return len(self.volumes_ml.get(value, ()))


def spread_sample(cases: Sequence[SourceCase], most: int) -> list[SourceCase]:
    """Return at most so many cases, spread over all."""
    places = np.unique(np.linspace(0, len(cases) - 1, min(most, len(cases))).astype(int))
    return [cases[place] for place in places]


def read_label_values(cases: Iterable[SourceCase]) -> LabelValues:
    """Read the labels of cases; one that cannot be read is a problem, and the others are read."""
    volumes = defaultdict[int | str, list[float]](list)
    problems: list[str] = []
    read = 0
    for case in cases:
        try:
            found = _volumes_ml(case)
        except SetAsideError as error:
            problems.append(f"{case.name}: {error.finding.reason}")
            continue
        read += 1
        for value, volume_ml in found.items():
            volumes[value].append(volume_ml)
    ordered = sorted(volumes, key=lambda v: (isinstance(v, str), v))
    return LabelValues(read, {v: tuple(volumes[v]) for v in ordered}, tuple(problems))


def _volumes_ml(case: SourceCase) -> dict[int | str, float]:
    if not case.masks:
        return {**_of_map(case.label)}
    if case.segments:
        return _of_segments(case, case.segments)
    found = {name: _of_map(case.label / case.mask_name(name)) for name in case.masks if name}
    return {name: sum(volumes.values()) for name, volumes in found.items() if volumes}


def _of_segments(case: SourceCase, layout: SegmentsLayout) -> dict[int | str, float]:
    label = open_segmented(case.label, layout).of_series(case.image)
    scan = read_volume(case.image, series=label.series)
    grid, _ = grid_of_label(label, layout, scan, image=case.image)
    counts = {name: int(label.mask(name, grid)[0].sum()) for name in case.masks if name}
    return {name: count * grid.voxel_ml for name, count in counts.items() if count}


def _of_map(path: Path) -> dict[int, float]:
    volume = read_volume(path, OF_LABELS, is_label=True)
    whole, _ = whole_numbers(volume.voxels, path)
    counts = np.bincount(whole.ravel())
    voxel_ml = volume.grid.voxel_ml
    return {value: float(n) * voxel_ml for value, n in enumerate(counts.tolist()) if value and n}
