"""Which values the labels of some cases hold, and how much of each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from curate.datasets.discover import SourceCase
from curate.labels.label_files import whole_numbers
from manifests.ground.findings import SetAsideError
from manifests.volumes.volume import read_volume


@dataclass(frozen=True)
class LabelValues:
    """What labels hold.

    Attributes:
        cases: Labels that were read.
        volumes_ml: By value, or by the name of a mask file, the volume in each case that has it.
        problems: Why some could not be read.
    """

    cases: int
    volumes_ml: dict[int | str, tuple[float, ...]]
    problems: tuple[str, ...]

    def told(self, value: int | str) -> str:
        """In how many cases a value is, and how much of it, in words."""
        size = f", {self.told_ml(value)} mL" if self.labels(value) else ""
        return f"in {self.labels(value)} of {self.cases} labels{size}"

    def told_ml(self, value: int | str) -> str:
        """The median volume to three digits, as in 1,790 or 0.0123; empty if no label has it."""
        median_ml = self.median_ml(value)
        if median_ml is None:
            return ""
        rounded = float(f"{median_ml:.3g}")
        return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"

    def labels(self, value: int | str) -> int:
        """In how many labels a value is."""
        return len(self.volumes_ml.get(value, ()))

    def median_ml(self, value: int | str) -> float | None:
        """The median volume in the labels that have it."""
        volumes = self.volumes_ml.get(value)
        return float(np.median(volumes)) if volumes else None


def some_of(cases: Sequence[SourceCase], most: int) -> list[SourceCase]:
    """At most so many cases, spread over all."""
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
        return {**_of_map(case)}
    found = {name: _of_map(case, name) for name in case.masks}
    return {name: sum(volumes.values()) for name, volumes in found.items() if volumes}


def _of_map(case: SourceCase, name: str = "") -> dict[int, float]:
    path = case.label / name if name else case.label
    volume = read_volume(path)
    whole, _ = whole_numbers(volume.voxels, path)
    counts = np.bincount(whole.ravel())
    voxel_ml = volume.grid.voxel_ml
    return {value: float(n) * voxel_ml for value, n in enumerate(counts.tolist()) if value and n}
