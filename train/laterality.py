"""Laterality: the classes of a mirror image that swaps left and right."""

from collections.abc import Mapping, Sequence

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import groups_of
from manifests.classes.structures import Structure, vocabulary
from manifests.ground.errors import TrainingError

_OPPOSITE = {"left": "right", "right": "left"}


def mirrored_classes(space: LabelSpace) -> tuple[int, ...]:
    """Return the class that each class becomes: `mirrored[mirrored[n]] == n`, and 0 stays 0.

    A class is swapped with its pair in the label space, or else with the class that covers the
    structures of the other side.

    Raises:
        TrainingError: A class has no counterpart, such as a left kidney where the right one is
            background.
    """
    known = {**vocabulary(), **space.structures}
    covers = {frozenset(c.structures): n for n, c in enumerate(space.classes, start=1)}
    paired = {a: b for pair in space.left_right_pairs for a, b in (pair, pair[::-1])}
    mirrored = [0]
    for entry in space.classes:
        sided = frozenset(_mirrored(name, known) for name in entry.structures)
        partner = space.names.index(paired[entry.name]) if entry.name in paired else None
        mirrored.append(covers.get(sided, -1) if partner is None else partner)
    for n, partner in enumerate(mirrored):
        if partner < 0 or mirrored[partner] != n:
            msg = (
                f"label space {space.name!r}: the class {space.names[n]!r} has no counterpart on "
                f"the other side, so that images cannot be mirrored from left to right; set "
                f"the last of mirror_zyx to 0, or name its counterpart in left_right_pairs"
            )
            raise TrainingError(msg)
    return tuple(mirrored)


def mirror_merged(merged: Sequence[int], mirrored: Sequence[int]) -> tuple[int, ...]:
    """Return the merged classes of a mirrored case: each group of the mirrored classes."""
    result = [0] * len(merged)
    for group in groups_of(merged).values():
        swapped = [mirrored[n] for n in group]
        for n in swapped:
            result[n] = min(swapped)
    return tuple(result)


def _mirrored(name: str, known: Mapping[str, Structure]) -> str:
    """Return the structure of the other side; itself if it has no side, "" if there is none.

    It is the one of the same code, or else the one whose name has the other side.
    """
    structure = known[name]
    if structure.laterality is None:
        return name
    other = _OPPOSITE[structure.laterality]
    sided = {n: s for n, s in known.items() if s.laterality == other}
    codes = structure.code, structure.region
    same = [n for n, s in sided.items() if s.code and (s.code, s.region) == codes]
    if len(same) == 1:
        return same[0]
    renamed = name.replace(structure.laterality, other)
    return renamed if renamed in sided else ""
