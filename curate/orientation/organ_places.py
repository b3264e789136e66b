"""Where the organs of a label volume lie, and what their order says of the header's axes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.labels.relabel import BlockMap, look_up
from curate.orientation.anatomy import AXES, anatomy
from curate.orientation.evidence import Evidence, order_evidence
from manifests.classes.structures import Structure, vocabulary
from manifests.volumes.downsampling import subsample

STEP_MM = 4.0
ENOUGH_ML = 2.0  # of an organ that anatomy.toml does not list
SPINE = "spine"

Structures = Mapping[str, Structure]
Places = Mapping[str, tuple[float, ...]]  # LPS mm


@dataclass(frozen=True)
class _Organs:
    """The points [n, 3] (LPS mm) of some organs, and what one point stands for."""

    points_mm: Mapping[str, NDArray[np.float64]]
    point_ml: float


def organ_places(labels: BlockMap, structures: Structures) -> Places:
    """Find the middle of each organ: the median of its voxels along each LPS axis (mm).

    An organ counts with its tumours. A block of several organs has no place unless they are one of
    the groups of anatomy.toml, and neither has an organ of which there is hardly anything.

    Args:
        labels: The annotation, on any grid.
        structures: What is known of the structures.
    """
    organs = _organs(labels, structures)
    return {
        name: tuple(np.median(points, axis=0).tolist())
        for name, points in organs.points_mm.items()
        if len(points) * organs.point_ml >= anatomy().enough_ml.get(name, ENOUGH_ML)
    }


def order_of_organs(places: Places, structures: Structures) -> list[Evidence]:
    """Hold the organs' places against anatomy.

    Args:
        places: Of the organs, and of the `spine` where the image shows it.
        structures: What is known of the structures, above all their sides.
    """
    told = [
        order_evidence(axis, (s.first, s.second), (places[s.first], places[s.second]), s.scale)
        for axis in AXES
        for s in anatomy().statements[axis]
        if s.first in places and s.second in places
    ]
    return [*told, *_sides(places, structures)]


def known_structures(declared: Structures) -> Structures:
    """The vocabulary, and what a recipe declares beside it."""
    return {**vocabulary(), **declared}


def _sides(places: Places, structures: Structures) -> Iterator[Evidence]:
    """Hold what has a side against its other side and against the spine."""
    for name, other in _sided(structures):
        if name not in places:
            continue
        if structures[name].laterality == "left" and other in places:
            pair = places[name], places[other]
            yield order_evidence("left_right", (name, other), pair, anatomy().sides.of_the_other)
        if SPINE in places:
            names = (name, SPINE) if structures[name].laterality == "left" else (SPINE, name)
            ends = places[names[0]], places[names[1]]
            yield order_evidence("left_right", names, ends, anatomy().sides.of_the_spine)


def _sided(structures: Structures) -> Iterator[tuple[str, str]]:
    """Yield each structure with a side, and the name that its other side would have."""
    for name, structure in structures.items():
        if structure.laterality == "left":
            yield name, name.replace("left", "right")
        elif structure.laterality == "right":
            yield name, name.replace("right", "left")


def _organs(labels: BlockMap, structures: Structures) -> _Organs:
    thin = subsample(labels.volume, STEP_MM)
    numbers_zyx = look_up(thin, labels.number_of).voxels
    filled = numbers_zyx > 0
    points_mm = thin.grid.position_mm(np.argwhere(filled)[:, ::-1])
    ids = numbers_zyx[filled]
    numbers: dict[str, list[int]] = {}
    whole: set[str] = set()
    for number, block in enumerate(labels.blocks, start=1):
        organs = frozenset(_organ_of(name, structures) for name in block)
        for name in _names_of(organs):
            numbers.setdefault(name, []).append(number)
            if block & organs:
                whole.add(name)  # a lesion alone does not show where its organ lies
    return _Organs({n: points_mm[np.isin(ids, numbers[n])] for n in whole}, thin.grid.voxel_ml)


def _organ_of(name: str, structures: Structures) -> str:
    known = structures.get(name)
    return known.part_of if known and known.part_of else name


def _names_of(organs: frozenset[str]) -> list[str]:
    """Name what a block shows: its organ if there is one only, and the group that it belongs to."""
    groups = [g for g, members in anatomy().groups.items() if organs <= set(members)]
    return [*(organs if len(organs) == 1 else ()), *groups]
