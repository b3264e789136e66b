"""Merged classes: which classes of a label space one annotation does not distinguish.

An annotation partitions the structures into *blocks* (what one label value covers is one block,
and whatever no value covers joins the background's block). A label space partitions them into
classes. The merged classes are the join of the two partitions: the finest one that both refine.
On the N classes it is the integer vector `merged` that sends each class to its representative,
the smallest class id of its group: `merged[merged[n]] == merged[n]`.

Source: Shi et al. 2021, section 3.2; the join is ours.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from manifests.classes.label_space import LabelSpace

Block = frozenset[str]
Merged = tuple[int, ...]


def as_blocks(groups: Iterable[Iterable[str]]) -> tuple[Block, ...]:
    """Return blocks in their canonical form: disjoint, not empty, sorted.

    Raises:
        ValueError: A structure is in two blocks.
    """
    blocks = sorted((frozenset(group) for group in groups), key=sorted)
    seen: set[str] = set()
    for block in blocks:
        if twice := seen & block:
            msg = f"structure {min(twice)!r} is in two blocks"
            raise ValueError(msg)
        seen |= block
    return tuple(block for block in blocks if block)


def merged_classes(blocks: Collection[Block], space: LabelSpace) -> Merged:
    """Return the join of an annotation's partition and a label space's: N representatives."""
    covered = frozenset[str]().union(*blocks)
    uncovered = {space.class_of[s] for s in space.class_of.keys() - covered}
    touched = ({space.class_of.get(s, 0) for s in block} for block in blocks)
    return merge_groups(range(len(space)), [{0} | uncovered, *touched])


def merge_groups(merged: Sequence[int], groups: Iterable[Collection[int]]) -> Merged:
    """Coarsen a partition of N classes so that each of `groups`, of class ids, is in one group."""
    representative = list(merged)
    for group in groups:
        found = {representative[n] for n in group}
        if len(found) > 1:
            smallest = min(found)
            representative = [smallest if r in found else r for r in representative]
    return tuple(representative)


def is_merged(merged: Sequence[int]) -> bool:
    """Return whether a vector sends each class to the smallest class id of its group."""
    return all(0 <= r <= n and merged[r] == r for n, r in enumerate(merged))


def is_full(merged: Sequence[int]) -> bool:
    """Return whether every class is told apart from every other."""
    return tuple(merged) == tuple(range(len(merged)))


def groups_of(merged: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return the groups: class ids by representative, both ascending."""
    return {
        r: tuple(n for n, other in enumerate(merged) if other == r) for r in sorted(set(merged))
    }


def annotated_classes(merged: Sequence[int]) -> tuple[int, ...]:
    """Return the foreground classes that are told apart from every other class."""
    return _annotated(tuple(merged))


@lru_cache  # the cases of a manifest have few kinds of merged classes
def _annotated(merged: Merged) -> tuple[int, ...]:
    return tuple(r for r, group in groups_of(merged).items() if r > 0 and len(group) == 1)


def representative_of(block: Block, space: LabelSpace, merged: Sequence[int]) -> int:
    """Return the value that a label volume holds where an annotation says `block`.

    Any structure of the block gives the same answer, since the block lies within one group.
    """
    return merged[space.class_of.get(min(block), 0)]


def describe(merged: Sequence[int], space: LabelSpace) -> str:
    """Return merged classes in words, as in `liver | background + spleen + pancreas`."""
    groups = groups_of(merged)
    words = [" + ".join(space.names[n] for n in group) for group in groups.values()]
    return " | ".join([*words[1:], words[0]])
