"""Distances: how far the slices of a series lie apart, and whether any is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.readers.repairs import RESAMPLED, Repairs

EVEN = 0.01  # of the distance of slices: rounding
UNEVEN = 0.1  # of the distance of slices: tolerated
PLANNED_STEPS = 3  # of one distance, at least, are no accident
MOST_DECIMALS = 3
MOST_NAMED = 5  # slices or files in a message

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class SlicePlaces:
    """Where the slices of a series lie, in order.

    Attributes:
        series: What to call it in a message.
        names: Of the slices.
        numbers: Their instance numbers; empty if one has none.
        depths_mm: Along the normal, ascending.
        rounding_mm: The last decimal of all positions.
        unread: What of the folder could not be used, in words; it may be what a gap lacks.
    """

    series: str
    names: Sequence[str]
    numbers: Sequence[int]
    depths_mm: Vector
    rounding_mm: float
    unread: str = ""


@dataclass(frozen=True)
class Distances:
    """How far slices lie apart on the grid that they are put on.

    Attributes:
        resampled: Whether layers of the grid lie between slices.
    """

    step_mm: float
    resampled: bool = False
    findings: tuple[Finding, ...] = ()


def distances(places: SlicePlaces, repairs: Repairs) -> Distances:
    """Find the distance of slices.

    Raises:
        SetAsideError: Slices are missing, or lie at no regular distance, or at several and
            resampling is not allowed.
    """
    steps = np.diff(places.depths_mm)
    if even := _even(places, steps):
        return even
    if planned := _planned(places, steps):
        words = " and ".join(f"{mm:.4g} mm ({count} slices)" for mm, count in planned)
        finest = min(mm for mm, _ in planned)
        if repairs.resample_uneven:
            finding = Finding(RESAMPLED, f"from {words} to {finest:.4g} mm")
            return Distances(finest, resampled=True, findings=(finding,))
        reason = (
            f"{places.series}: expected slices of one distance; got {words}, as planned: "
            f"--resample-uneven resamples such series to the finest distance"
        )
        raise SetAsideError(Finding("slice_distances_differ", reason))
    raise SetAsideError(_lacking(places, steps))


def rounding_mm(positions_mm: Vector) -> float:
    """Return the last decimal that positions are written with: 0.1, or 0 if there are many."""
    for decimals in range(MOST_DECIMALS + 1):
        if np.abs(positions_mm - positions_mm.round(decimals)).max() < 1e-9:
            return 10.0**-decimals
    return 0.0


def _even(places: SlicePlaces, steps: Vector) -> Distances | None:
    depths, unit = places.depths_mm, places.rounding_mm
    mean = float((depths[-1] - depths[0]) / len(steps))
    off = float(np.abs(steps / np.median(steps) - 1).max())
    line = depths[0] + mean * np.arange(len(depths))
    rounded = unit <= mean / 2 and float(np.abs(depths - line).max()) <= unit
    if off > UNEVEN and not rounded:
        return None
    reason = f"from {steps.min():.4g} to {steps.max():.4g} mm"
    reason += f"; positions are rounded to {unit:g} mm" if rounded and off > EVEN else ""
    findings = (Finding("dicom_spacing_uneven", reason),) if off > EVEN else ()
    return Distances(mean, findings=findings)


def _planned(places: SlicePlaces, steps: Vector) -> list[tuple[float, int]]:
    """Return the distances that a series was planned with, and how many slices follow each.

    Slices of one distance stand together, and between two such stacks there is no gap. Where the
    scanner numbered the slices, no number is left out.
    """
    if _is_left_out(places.numbers) or places.unread:
        return []
    runs = _runs(steps, places.rounding_mm)
    long = [n for n, run in enumerate(runs) if len(run) >= PLANNED_STEPS]
    usual = {n: float(np.mean(runs[n])) for n in long}
    if len(long) < 2 or long[0] != 0 or long[-1] != len(runs) - 1:
        return []
    for before, after in pairwise(long):
        between = np.concatenate([[0.0], *runs[before + 1 : after]])
        if after - before > 2 or between.max() > max(usual[before], usual[after]) * (1 + UNEVEN):
            return []
    planned = [(usual[n], len(runs[n])) for n in long]
    apart = max(mm for mm, _ in planned) / min(mm for mm, _ in planned)
    return planned if apart > 1 + UNEVEN else []


def _runs(steps: Vector, unit_mm: float) -> list[Vector]:
    """Part steps where one differs from the first of its run."""
    runs: list[list[float]] = []
    for step in steps.tolist():
        first = runs[-1][0] if runs else None
        if first is not None and abs(step - first) <= max(EVEN * first, unit_mm):
            runs[-1].append(step)
        else:
            runs.append([step])
    return [np.array(run) for run in runs]


def _is_left_out(numbers: Sequence[int]) -> bool:
    """Tell whether slices are numbered, and a number between the first and the last is missing."""
    return bool(numbers) and len({abs(b - a) for a, b in pairwise(numbers)}) > 1


def _lacking(places: SlicePlaces, steps: Vector) -> Finding:
    usual, worst = float(np.median(steps)), int(steps.argmax())
    missing = int(np.rint(steps / usual - 1).clip(0).sum())
    first, second = places.names[worst], places.names[worst + 1]
    reason = (
        f"{places.series}: expected slices {usual:.4g} mm apart; got {steps.max():.4g} mm between "
        f"{first} and {second} (slices {worst + 1} and {worst + 2} of {len(steps) + 1}), and "
        f"{steps.min():.4g} mm at the least"
    )
    if not missing:
        return Finding("geometry_invalid", reason)
    absent = (
        sorted({*range(min(places.numbers), max(places.numbers))} - {*places.numbers})
        if (places.numbers)
        else []
    )
    some = ", ".join(map(str, absent[:MOST_NAMED])) + (", ..." if len(absent) > MOST_NAMED else "")
    named = f" (instance numbers {some})" if 0 < len(absent) <= missing else ""
    unread = f"; {places.unread}" if places.unread else ""
    reason = f"{reason}: about {missing} are missing{named}{unread}; get the series again"
    return Finding("dicom_slices_missing", reason)
