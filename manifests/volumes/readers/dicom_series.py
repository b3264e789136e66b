"""Which DICOM slices make up a volume, and where it lies."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.readers.dicom_distances import (
    MOST_NAMED,
    SlicePlaces,
    Vector,
    distances,
    rounding_mm,
)
from manifests.volumes.readers.dicom_slice import Slice
from manifests.volumes.readers.layers import Layers
from manifests.volumes.readers.repairs import STRAIGHTENED, Repairs

SAME_POSITION_MM = 0.01
TILT_TOLERANCE = 0.01  # shift of a slice per distance
MOST_TILT_DEGREES = 45.0  # no gantry can be tilted as far
OFF_LINE_PIXELS = 0.5  # how far a slice of a tilted gantry may be from the line of the others

Pixels = Callable[[Slice, Slice], bool]


@dataclass(frozen=True)
class SeriesPlan:
    """A volume that slices make up.

    Attributes:
        slices: In order.
        layers: Where they lie.
        step_mm: Distance of the volume's layers.
        resampled: Whether the volume has to be resampled from them.
    """

    slices: list[Slice]
    layers: Layers
    step_mm: float
    resampled: bool
    findings: tuple[Finding, ...]


def plan_volume(
    slices: Sequence[Slice],
    same_pixels: Pixels,
    place: Path,
    *,
    damaged: Sequence[Path] = (),
    repairs: Repairs,
) -> SeriesPlan:
    """Choose the slices of the only CT volume of a file or a folder, in order, and where they lie.

    A gap is an error; so is what a repair would be needed for that is not allowed.

    Args:
        slices: What the headers say.
        same_pixels: Tells whether two slices hold the same image.
        place: The file, or the folder where they lie.
        damaged: DICOM files whose headers could not be read; they may be what a gap lacks.
        repairs: What may be done.
    """
    chosen, left_out = _only_stack(slices, place)
    axes = chosen[0].axes
    chosen = sorted(chosen, key=lambda s: (_depth(s, axes), s.path.name, s.frame or 0))
    chosen, duplicates = _without_duplicates(chosen, axes, same_pixels, place)
    positions = np.array([s.position_mm for s in chosen])
    offsets = (positions - positions[0]) @ axes.T
    numbers = [s.number for s in chosen if s.number is not None]
    lacking = [s for s in slices if s.obstacle and not s.foreign and s.series == chosen[0].series]
    places = SlicePlaces(
        series=str(place),
        names=[s.name for s in chosen],
        numbers=numbers if len(numbers) == len(chosen) else (),
        depths_mm=offsets[:, 2],
        rounding_mm=rounding_mm(positions),
        unread="; ".join([*_unread(damaged), *_kinds(lacking)]),
    )
    apart = distances(places, repairs)
    tilt = _tilt(offsets, chosen[0], places, repairs)
    if not apart.resampled:
        offsets[:, 2] = np.arange(len(chosen)) * apart.step_mm
    spacing = chosen[0].spacing_xy_mm or (1.0, 1.0)  # a slice without it is in no stack
    layers = Layers(axes, spacing, positions[0], offsets)
    findings = (*left_out, *duplicates, *apart.findings, *tilt)
    return SeriesPlan(chosen, layers, apart.step_mm, apart.resampled or bool(tilt), findings)


def _only_stack(slices: Sequence[Slice], place: Path) -> tuple[list[Slice], list[Finding]]:
    stacks: defaultdict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for s in slices:
        if not s.obstacle:
            stacks[s.stack].append(s)
    volumes = [stack for stack in stacks.values() if len({s.position_mm for s in stack}) > 1]
    if not volumes:
        single = [replace(s, stack_name="") for stack in stacks.values() for s in stack]
        got = "; ".join(_kinds([*(s for s in slices if s.obstacle), *single]))
        reason = f"{place}: expected a CT series of two slices or more; got {got}"
        hint = "; give the folder of its series" if place.is_file() and single else ""
        raise SetAsideError(Finding("dicom_not_volume", f"{reason}{hint}"))
    at_home = [v for v in volumes if place == home(s.path for s in v)]
    if len(volumes) > 1 and len(at_home) != 1:
        raise SetAsideError(Finding("dicom_series_mixed", _mixed(volumes, place)))
    chosen = at_home[0] if len(volumes) > 1 else volumes[0]
    taken = {id(s) for s in chosen}
    others = [s for s in slices if id(s) not in taken]
    reason = (
        f"{len({s.path for s in others})} files beside the {len(chosen)} slices of the one CT "
        f"series: {'; '.join(_kinds(others))}"
    )
    return chosen, [Finding("dicom_series_chosen", reason)] if others else []


def home(paths: Iterable[Path]) -> Path:
    """Return the folder that holds all of some files, or the only file itself."""
    found = {*paths}
    if len(found) == 1:
        return found.pop().parent
    return Path(os.path.commonpath([path.parent for path in found]))


def _mixed(volumes: Sequence[Sequence[Slice]], place: Path) -> str:
    """Say which volumes there are, by the name of a stack, or by a slice."""
    ordered = sorted(volumes, key=len, reverse=True)
    names = [
        f"{len(v)} slices "
        + (f"of stack {v[0].stack_name!r} " if v[0].stack_name else "")
        + f"with {v[0].path.relative_to(place) if place != v[0].path else v[0].path.name}"
        for v in ordered[:MOST_NAMED]
    ]
    more = "; ..." if len(ordered) > MOST_NAMED else ""
    return (
        f"{place}: expected one CT series; got {len(volumes)}, of {[len(v) for v in ordered]} "
        f"slices ({'; '.join(names)}{more}): put each into its own folder, or file"
    )


def _kinds(slices: Sequence[Slice]) -> list[str]:
    """Say what some images are, and in which files."""
    kinds: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for s in slices:
        kinds[s.obstacle or "one slice only of a series"].setdefault(s.path.name)
    return [
        f"{kind} ({len(names)} {'file' if len(names) == 1 else 'files'}: {_some([*names])})"
        for kind, names in sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    ]


def _unread(damaged: Sequence[Path]) -> list[str]:
    names = _some([path.name for path in damaged])
    return [f"cut off, or damaged otherwise: {names}"] if damaged else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


def _without_duplicates(
    ordered: Sequence[Slice], axes: Vector, same_pixels: Pixels, place: Path
) -> tuple[list[Slice], list[Finding]]:
    kept: list[Slice] = []
    for s in ordered:
        if not kept or _depth(s, axes) - _depth(kept[-1], axes) > SAME_POSITION_MM:
            kept.append(s)
        elif not same_pixels(kept[-1], s):
            reason = (
                f"{place}: {kept[-1].name} and {s.name} are two images of one position: "
                f"expected one scan; put each into its own folder"
            )
            raise SetAsideError(Finding("dicom_series_mixed", reason))
    twice = len(ordered) - len(kept)
    finding = Finding("dicom_slices_duplicate", f"{twice} of {len(ordered)} slices")
    return kept, [finding] if twice else []


def _tilt(offsets_mm: Vector, first: Slice, places: SlicePlaces, repairs: Repairs) -> list[Finding]:
    """Look whether slices are shifted against each other, as by a tilted gantry.

    The positions tell; the sign of GantryDetectorTilt is not the same with all makers.
    """
    aside, along = offsets_mm[:, :2], offsets_mm[:, 2]
    furthest = float(np.linalg.norm(aside, axis=1).max())
    if furthest <= max(TILT_TOLERANCE * along[-1], places.rounding_mm):
        return []
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(aside[-1]), along[-1])))
    words = (
        f"slices are shifted by up to {furthest:.4g} mm over {along[-1]:.4g} mm "
        f"({degrees:.1f} degrees)"
    )
    off_line = np.linalg.norm(aside - np.outer(along / along[-1], aside[-1]), axis=1)
    worst = int(off_line.argmax())
    allowed = max(OFF_LINE_PIXELS * min(first.spacing_xy_mm or (1.0,)), places.rounding_mm)
    if off_line[worst] > allowed or degrees > MOST_TILT_DEGREES:
        reason = (
            f"{places.series}: {words}, not as by a tilted gantry; {places.names[worst]} is "
            f"{off_line[worst]:.4g} mm beside the others; get the series again"
        )
        raise SetAsideError(Finding("dicom_gantry_tilt", reason))
    if not repairs.straighten_tilt:
        reason = f"{places.series}: {words}, as by a tilted gantry, and --refuse-tilt was given"
        raise SetAsideError(Finding("dicom_gantry_tilt", reason))
    return [Finding(STRAIGHTENED, words)]


def _depth(s: Slice, axes: Vector) -> float:
    return float(np.asarray(s.position_mm) @ axes[2])
