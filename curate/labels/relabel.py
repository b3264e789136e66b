"""From label values to blocks of structures, and from those to the classes of a label space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from manifests.label_space import LabelSpace
from manifests.merged import Block, Merged, representative_of
from manifests.structures import vocabulary
from manifests.volume import Volume


@dataclass(frozen=True)
class BlockMap:
    """A label volume whose values are numbers of blocks.

    Attributes:
        volume: uint8; 0 is what no block covers, `n` is `blocks[n - 1]`.
        blocks: The structures that each value covers; disjoint.
    """

    volume: Volume
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, label: Volume, values: Mapping[int, Sequence[str]]) -> Self:
        """Number the blocks of a label volume that holds only 0 and the keys of `values`."""
        blocks = tuple(dict.fromkeys(frozenset(v) for v in values.values()))
        table = np.zeros(max(values) + 1, np.uint8)
        for value, structures in values.items():
            table[value] = blocks.index(frozenset(structures)) + 1
        return cls(look_up(label, table), blocks)

    def two_sided(self) -> Volume:
        """uint8 volume: 1 where a block holds structures of both sides of the body."""
        left, right = sided("left"), sided("right")
        wanted = [bool(block & left) and bool(block & right) for block in self.blocks]
        return look_up(self.volume, np.array([0, *wanted], np.uint8))

    def by_side(self, sides: Volume) -> "BlockMap":
        """Part every two-sided block into its left and its right structures.

        A block is parted whether or not it has voxels here: what an annotation tells apart does
        not depend on what one patient has.

        Args:
            sides: On the same grid, 1 (left) or 2 (right) wherever `two_sided` is 1.
        """
        left, right = sided("left"), sided("right")
        table = np.zeros((len(self.blocks) + 1, 3), np.uint8)
        blocks: list[Block] = []
        for number, block in enumerate(self.blocks, start=1):
            if block & left and block & right:
                blocks += [block & left, block & right]
                table[number, 1:] = len(blocks) - 1, len(blocks)
            else:
                blocks.append(block)
                table[number] = len(blocks)
        old, side = self.volume.voxels, sides.voxels
        parted = look_up(self.volume, table[:, 0])
        where = np.flatnonzero(side)
        parted.voxels.reshape(-1)[where] = table[old.reshape(-1)[where], side.reshape(-1)[where]]
        return BlockMap(parted, tuple(blocks))

    def to_classes(self, space: LabelSpace, merged: Merged) -> Volume:
        """The uint8 volume of representatives."""
        table = [representative_of(block, space, merged) for block in self.blocks]
        return look_up(self.volume, np.array([0, *table], np.uint8))


def sided(side: str) -> frozenset[str]:
    """The structures of the vocabulary that lie on one side of the body."""
    return frozenset(name for name, s in vocabulary().items() if s.laterality == side)


def look_up(volume: Volume, table: np.ndarray) -> Volume:
    """`table[volume]` (uint8), on the same grid.

    Done layer by layer, since an array that serves as an index takes eight times as much. Up to 256
    entries, the translation of bytes is ten times as fast.
    """
    found = np.empty(volume.voxels.shape, np.uint8)
    every = bytes(table).ljust(256, b"\0")
    for old, new in zip(volume.voxels, found, strict=True):
        if len(table) > 256:
            new[...] = table[old]
        else:
            translated = old.astype(np.uint8, copy=False).tobytes().translate(every)
            new[...] = np.frombuffer(translated, np.uint8).reshape(new.shape)
    return Volume(found, volume.grid)
