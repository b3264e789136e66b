"""Joined labels: what two annotations of one image say together.

Each annotation puts a voxel into a group of classes that it does not distinguish; together they put
it into what both groups have in common. Where that is nothing, they contradict each other.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.classes.merged import Block, Merged, as_blocks, groups_of, merged_classes

Ids = NDArray[np.uint8]


@dataclass(frozen=True)
class Annotation:
    """What an annotator says of one image.

    Attributes:
        blocks: The structures that each label value covers.
        ids: Representatives, or `IGNORED` where the annotator did not look [z, y, x].
    """

    blocks: tuple[Block, ...]
    merged: Merged
    ids: Ids


@dataclass(frozen=True)
class Joined:
    """Two annotations as one.

    Attributes:
        conflicts: Number of voxels where they contradict each other.
        worst: The greatest share, of the voxels that either gives to one class or group other
            than the background, where the other contradicts it.
    """

    annotation: Annotation
    conflicts: int
    worst: float


def join(
    first: Annotation,
    second: Annotation,
    space: LabelSpace,
    *,
    second_believed: Set[int] = frozenset(),
) -> Joined | None:
    """Join two annotations on one grid; None if their blocks cannot say what they say together.

    Where they contradict each other, the first one's class is kept if it is one class or the
    background, or else the second one's, or else the voxel becomes background. The second one's
    comes first if it is believed on more of the classes in question than the first. Where only
    one of them looked, it is believed if it tells the voxel's group from all others as the two
    together do; or else the voxel is ignored.
    """
    merged = finest_of_both(first.merged, second.merged)
    blocks = _blocks(first.blocks, second.blocks, merged, space)
    if merged_classes(blocks, space) != merged:
        return None
    table, contradicts = _table(first.merged, second.merged, merged, second_believed)
    n = len(merged)
    rows = n + 1  # the last one is of ignored voxels
    pairs = np.minimum(first.ids, n).astype(np.uint16) * rows + np.minimum(second.ids, n)
    counts = np.bincount(pairs.ravel(), minlength=rows * rows).reshape(rows, rows)[:n, :n]
    against = np.where(contradicts, counts, 0)
    shares = [
        against.sum(axis=axis)[1:] / np.maximum(counts.sum(axis=axis)[1:], 1) for axis in (0, 1)
    ]
    return Joined(
        Annotation(blocks, merged, table.ravel()[pairs]),
        int(against.sum()),
        float(np.max(shares, initial=0.0)),
    )


def finest_of_both(first: Sequence[int], second: Sequence[int]) -> Merged:
    """Return the coarsest partition of classes that refines both: apart in either is apart."""
    seen: dict[tuple[int, int], int] = {}
    return tuple(seen.setdefault(pair, n) for n, pair in enumerate(zip(first, second, strict=True)))


def _blocks(
    first: Sequence[Block], second: Sequence[Block], merged: Merged, space: LabelSpace
) -> tuple[Block, ...]:
    covered_1, covered_2 = (frozenset[str]().union(*blocks) for blocks in (first, second))
    blocks = as_blocks(
        [
            *(a & b for a in first for b in second),
            *(a - covered_2 for a in first),
            *(b - covered_1 for b in second),
        ]
    )
    # what neither volume told from the background cannot be told from it by both
    lost = {n for n in range(1, len(merged)) if merged[n] == 0}
    return tuple(b for b in blocks if lost.isdisjoint(space.class_of.get(s, 0) for s in b))


def _table(
    first: Merged, second: Merged, merged: Merged, second_believed: Set[int]
) -> tuple[Ids, NDArray[np.bool_]]:
    """Return the class id for each two ids, and where the two contradict each other [N, N].

    The table is [N + 1, N + 1]: the last row and column are of voxels that one ignores.
    """
    n = len(merged)
    table, contradicts = np.zeros((n + 1, n + 1), np.uint8), np.zeros((n, n), bool)
    groups_1, groups_2, whole = groups_of(first), groups_of(second), set(groups_of(merged).values())
    for a, group_1 in groups_1.items():
        for b, group_2 in groups_2.items():
            common = set(group_1) & set(group_2)
            said = [(a, group_1), (b, group_2)]
            doubted = {a, b} - {0}
            if 2 * len(doubted & second_believed) > len(doubted):
                said.reverse()
            definite = (r for r, g in said if r == 0 or g in whole)
            table[a, b] = min(common) if common else next(definite, 0)
            contradicts[a, b] = not common
    table[n], table[:, n] = IGNORED, IGNORED
    for a, group in groups_1.items():
        table[a, n] = a if group in whole else IGNORED
    for b, group in groups_2.items():
        table[n, b] = b if group in whole else IGNORED
    return table, contradicts
