"""Outliers: labels unlike those of the same class in the same dataset."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from manifests.classes.label_space import LabelSpace
from manifests.ground.findings import Finding
from manifests.table.case import Case

T = TypeVar("T")
CODE = "volume_outlier"
FEWEST_CASES = 10
MOST_Z = 8.0  # a tumour of 700 mL in one of 24 patients gives its kidney 5.5
TO_SIGMA = 1.4826  # from the median of absolute deviations, of a normal distribution
# Spreads below these say that a dataset has few cases, not that they are alike.
LEAST_LOG_VOLUME = 0.15
LEAST_HU = 10.0
LEAST_PLACE = 0.03  # of the body's breadth and depth
ONLY_RANKED = 0.99  # the suspicion of what has no finding of its own


def with_outliers(cases: Sequence[Case], space: LabelSpace) -> list[Case]:
    """Compare each label's volume, intensity and place with those of its class in its dataset.

    A class is compared once ten cases of the dataset have a label of it. A volume is judged by its
    logarithm, and that of an organ which the scan cuts is left out. The order of the cases stays.
    """
    z_of: defaultdict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for members in _by_dataset(cases).values():
        for n in range(1, len(space)):
            for case, z in _deviations(members, n):
                z_of[case.case_id][n] = z
    return [_with_deviations(case, z_of[case.case_id], cases, space) for case in cases]


def robust_z(values: NDArray[np.float64], least_sigma: float) -> NDArray[np.float64]:
    """Return how far values are from their median, in robust standard deviations.

    Source: the median of absolute deviations as in Iglewicz and Hoaglin 1993, section 3.
    """
    known = values[np.isfinite(values)]
    if len(known) < FEWEST_CASES:
        return np.full(len(values), np.nan)
    middle = np.median(known)
    sigma = max(TO_SIGMA * float(np.median(np.abs(known - middle))), least_sigma)
    return (values - middle) / sigma


def _by_dataset(cases: Sequence[Case]) -> dict[str, list[Case]]:
    found: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.suspicion is not None:
            found[case.dataset].append(case)
    return found


def _deviations(cases: Sequence[Case], n: int) -> Iterator[tuple[Case, dict[str, float]]]:
    """Yield the cases that have a label of a class, and its robust z of each kind."""
    labelled = [c for c in cases if _of(c.suspicion, n) is not None]
    if len(labelled) < FEWEST_CASES:
        return
    kinds = {
        "volume": robust_z(np.array([_log_volume(c, n) for c in labelled]), LEAST_LOG_VOLUME),
        "intensity": robust_z(np.array([_or_nan(c.class_hu_mean, n) for c in labelled]), LEAST_HU),
    }
    for axis, name in enumerate(("x", "y")):  # along z it depends on where the scan begins
        places = [_of(c.place_in_body, n) for c in labelled]
        along = np.array([math.nan if p is None else p[axis] for p in places])
        kinds[f"place along {name}"] = robust_z(along, LEAST_PLACE)
    for number, case in enumerate(labelled):
        z = {kind: float(values[number]) for kind, values in kinds.items()}
        yield case, {kind: value for kind, value in z.items() if math.isfinite(value)}


def _log_volume(case: Case, n: int) -> float:
    return math.nan if _of(case.cut_by_scan, n) else math.log(max(case.volume_ml[n], 1e-3))


def _with_deviations(
    case: Case, z_of: dict[int, dict[str, float]], cases: Sequence[Case], space: LabelSpace
) -> Case:
    if case.suspicion is None:
        return case
    findings = [f for f in case.findings if f.code != CODE]
    suspicion = list(case.suspicion)
    largest: list[float | None] = [None] * len(space)
    for n, z in z_of.items():
        if not z:
            continue
        most = largest[n] = max(z.values(), key=abs)
        volume = z.get("volume", 0.0)
        odd = max(abs(volume) / MOST_Z, min(abs(most) / MOST_Z, ONLY_RANKED))
        suspicion[n] = max(suspicion[n] or 0.0, odd)
        if abs(volume) >= MOST_Z:
            findings.append(Finding(CODE, _reason(case, n, volume, cases, space)))
    return replace(
        case, suspicion=tuple(suspicion), robust_z=tuple(largest), findings=tuple(findings)
    )


def _reason(case: Case, n: int, z: float, cases: Sequence[Case], space: LabelSpace) -> str:
    alike = [
        c.volume_ml[n]
        for c in cases
        if c.dataset == case.dataset
        and _of(c.suspicion, n) is not None
        and not _of(c.cut_by_scan, n)
    ]
    return (
        f"{space.names[n]}: {case.volume_ml[n]:.0f} mL; the median of {len(alike)} cases of "
        f"{case.dataset} is {np.median(alike):.0f} mL, robust z {z:+.1f}"
    )


def _of(column: Sequence[T] | None, n: int) -> T | None:
    return None if column is None else column[n]


def _or_nan(column: Sequence[float | None] | None, n: int) -> float:
    value = _of(column, n)
    return math.nan if value is None else value
