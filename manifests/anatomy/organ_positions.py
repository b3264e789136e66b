"""Where the organs of a label volume lie, and what their order says of the header's axes."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from manifests.anatomy.anatomy import AXES, Evidence, Positions, Scale, anatomy, order_evidence
from manifests.classes.merged import Block
from manifests.classes.structures import Structure, vocabulary
from manifests.volumes.downsampling import subsample
from manifests.volumes.volume import Volume

STEP_MM = 4.0
ENOUGH_ML = 2.0  # of an organ that anatomy.toml does not list
SPINE = "spine"

Structures = Mapping[str, Structure]


class Labels(Protocol):
    """A label volume, and the block of structures that each of its values stands for."""

    @property
    def volume(self) -> Volume:
        """The labels, on any grid in the frame of the image."""
        ...

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Structures that are labelled as one; disjoint."""
        ...

    @property
    def number_of(self) -> NDArray[np.uint8]:
        """By value, 0 for what no block covers and `n` for `blocks[n - 1]`."""
        ...


def organ_positions(labels: Labels, structures: Structures) -> Positions:
    """Find the middle of each organ: the median of its voxels along each LPS axis (mm).

    An organ counts with its tumours. A block of several organs has no position unless they are one
    of the groups of anatomy.toml, and neither has an organ of which there is hardly anything.
    """
    coarse = subsample(labels.volume, STEP_MM)
    numbers_zyx = labels.number_of[coarse.voxels]
    filled = numbers_zyx > 0
    points_mm = coarse.grid.position_mm(np.argwhere(filled)[:, ::-1])
    number_of_point = numbers_zyx[filled]
    positions: dict[str, tuple[float, ...]] = {}
    for name, blocks in _blocks_by_organ(labels, structures).items():
        of_organ_mm = points_mm[np.isin(number_of_point, blocks)]
        volume_ml = len(of_organ_mm) * coarse.grid.voxel_ml
        if volume_ml >= anatomy().enough_ml.get(name, ENOUGH_ML):
            positions[name] = tuple(np.median(of_organ_mm, axis=0).tolist())
    return positions


def organ_order_evidence(positions: Positions, structures: Structures) -> list[Evidence]:
    """Compare with anatomy the positions of organs, and of the `spine` where the image shows it."""
    orders = [
        order_evidence(axis, s[:2], positions, Scale(decisive=s.decisive_mm, trust=s.trust))
        for axis in AXES
        for s in anatomy().statements[axis]
        if s.first in positions and s.second in positions
    ]
    return [*orders, *_side_evidence(positions, structures)]


def known_structures(declared: Structures) -> Structures:
    """Return the vocabulary, and what a recipe declares beside it."""
    return {**vocabulary(), **declared}


def _side_evidence(positions: Positions, structures: Structures) -> Iterator[Evidence]:
    """Compare what has a side with its counterpart on the other side and with the spine."""
    sides = anatomy().sides
    for name, structure in structures.items():
        if name not in positions or structure.laterality is None:
            continue
        is_left, other = structure.laterality == "left", name.replace("left", "right")
        if is_left and other in positions:
            yield order_evidence("left_right", (name, other), positions, sides.of_the_other)
        if SPINE in positions:
            names = (name, SPINE) if is_left else (SPINE, name)
            yield order_evidence("left_right", names, positions, sides.of_the_spine)


def _blocks_by_organ(labels: Labels, structures: Structures) -> dict[str, list[int]]:
    """Return the numbers of the blocks that make up each organ or group of organs."""
    numbers: dict[str, list[int]] = {}
    whole: set[str] = set()
    for number, block in enumerate(labels.blocks, start=1):
        organs = frozenset(_organ_of(name, structures) for name in block)
        for name in _names_of(organs):
            numbers.setdefault(name, []).append(number)
            if block & organs:
                whole.add(name)  # a lesion alone does not show where its organ lies
    return {name: numbers[name] for name in whole}


def _organ_of(name: str, structures: Structures) -> str:
    known = structures.get(name)
    return known.part_of if known and known.part_of else name


def _names_of(organs: frozenset[str]) -> list[str]:
    """Return the organ that a block shows, if there is one only, and the group of its organs."""
    groups = [g for g, members in anatomy().groups.items() if organs <= set(members)]
    return [*(organs if len(organs) == 1 else ()), *groups]
