"""Completion: which classes a model tells apart, in a case whose annotator did not.

A model may only divide the groups of the annotator's merged classes, never join or move what was
told apart: its merged classes are finer.
"""

from collections.abc import Collection, Sequence
from typing import Literal, get_args

from manifests.classes.merged import Merged, groups_of, is_merged, merge_groups

Origin = Literal["annotated", "model", "none"]
ORIGINS: tuple[str, ...] = get_args(Origin)


def finer_classes(
    merged: Sequence[int], present: Collection[int], known: Collection[int]
) -> Merged:
    """Return the merged classes of a case after a model divided its groups.

    A class is told apart if the model knows it and some voxel has it: that an organ is nowhere, a
    model is not believed. What is left of the background's group stays with the background, which
    has to have a voxel too. A group without background is divided only if nothing is left of it.

    Args:
        merged: What the annotator told apart.
        present: Class ids that some voxel has, by the annotator and the model.
        known: Class ids that the model can find.
    """
    finer = list(merged)
    for group in groups_of(merged).values():
        found = {n for n in group if n and n in present and n in known}
        whole = 0 in present if group[0] == 0 else len(found) == len(group)
        for n in found if whole else ():
            finer[n] = n
    return tuple(finer)


def is_finer(finer: Sequence[int], merged: Sequence[int]) -> bool:
    """Return whether merged classes are others with some groups divided, or none."""
    same_length = len(finer) == len(merged)
    return (
        same_length
        and is_merged(finer)
        and merge_groups(finer, groups_of(merged).values()) == (tuple(merged))
    )


def origins_of(merged: Sequence[int], finer: Sequence[int]) -> tuple[Origin, ...]:
    """Return who told each class id apart from all others: an annotator, a model, or nobody."""
    alone, told_apart = (
        {group[0] for group in groups_of(row).values() if len(group) == 1}
        for row in (merged, finer)
    )
    return tuple(
        "annotated" if n in alone else "model" if n in told_apart else "none"
        for n in range(len(merged))
    )
