"""From label values to blocks of structures, and from those to the classes of a label space."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.classes.merged import Block, Merged, representative_of
from manifests.classes.structures import vocabulary
from manifests.volumes.volume import Volume


@dataclass(frozen=True)
class BlockMap:
    """A label volume, and the block of structures that each of its values stands for.

    Attributes:
        blocks: Structures that are labelled as one; disjoint.
        number_of: By value, 0 for what no block covers, `n` for `blocks[n - 1]`, and `IGNORED`
            where nobody looked (uint8); a value is its own number unless told otherwise.
    """

    volume: Volume
    blocks: tuple[Block, ...]
    number_of: NDArray[np.uint8] = field(default_factory=lambda: np.arange(256, dtype=np.uint8))

    @classmethod
    def of(
        cls, label: Volume, values: Mapping[int, Sequence[str]], ignored: Collection[int] = ()
    ) -> Self:
        """Number the blocks of a label volume of 0, the keys of `values`, and ignored values."""
        blocks = tuple(dict.fromkeys(frozenset(v) for v in values.values()))
        table = np.zeros(max([*values, *ignored], default=0) + 1, np.uint8)
        table[list(ignored)] = IGNORED
        for value, structures in values.items():
            table[value] = blocks.index(frozenset(structures)) + 1
        return cls(label, blocks, table)

    def two_sided(self) -> Volume:
        """Return the uint8 volume that is 1 where a block has structures of both sides."""
        left, right = structures_on("left"), structures_on("right")
        wanted = [bool(block & left) and bool(block & right) for block in self.blocks]
        return self._by_block([0, *wanted])

    def by_side(self, sides: Volume) -> "BlockMap":
        """Split every two-sided block into its left and its right structures.

        A block is split whether or not it has voxels here: what an annotation tells apart does
        not depend on one patient. `sides` is 1 (left) or 2 (right) wherever `two_sided` is 1.
        """
        left, right = structures_on("left"), structures_on("right")
        table = np.zeros((len(self.blocks) + 1, 3), np.uint8)
        blocks: list[Block] = []
        for number, block in enumerate(self.blocks, start=1):
            if block & left and block & right:
                blocks += [block & left, block & right]
                table[number, 1:] = len(blocks) - 1, len(blocks)
            else:
                blocks.append(block)
                table[number] = len(blocks)
        old, side = self.volume.voxels.reshape(-1), sides.voxels.reshape(-1)
        parted = self._by_block(table[:, 0], ignored=IGNORED)
        where = np.flatnonzero(side)
        parted.voxels.reshape(-1)[where] = table[self.number_of[old[where]], side[where]]
        return BlockMap(parted, tuple(blocks))

    def unseen(self) -> frozenset[str]:
        """Return the structures of the blocks that have no voxel here."""
        seen = np.bincount(self._by_block(range(len(self.blocks) + 1)).voxels.ravel())
        blocks = (b for n, b in enumerate(self.blocks, start=1) if n >= len(seen) or not seen[n])
        return frozenset[str]().union(*blocks)

    def without(self, structures: Collection[str]) -> "BlockMap":
        """Return blocks without some structures; a block that held no other is background."""
        left = [block.difference(structures) for block in self.blocks]
        blocks = tuple(dict.fromkeys(filter(None, left)))
        table = np.zeros(256, np.uint8)
        table[IGNORED] = IGNORED
        table[1 : len(left) + 1] = [blocks.index(b) + 1 if b else 0 for b in left]
        return BlockMap(self.volume, blocks, table[self.number_of])

    def with_sides_exchanged(self) -> "BlockMap":
        """Return the blocks with every structure of one side called by that of the other."""
        pairs = {n: f"right_{n.removeprefix('left_')}" for n in structures_on("left")}
        other = pairs | {right: left for left, right in pairs.items()}
        blocks = tuple(frozenset(other.get(s, s) for s in block) for block in self.blocks)
        return BlockMap(self.volume, blocks, self.number_of)

    def to_classes(self, space: LabelSpace, merged: Merged) -> Volume:
        """Return the uint8 volume of representatives."""
        table = [representative_of(block, space, merged) for block in self.blocks]
        return self._by_block([0, *table], ignored=IGNORED)

    @property
    def may_ignore(self) -> bool:
        """Whether a value says that nobody looked; it need not occur."""
        return IGNORED in self.number_of

    def ignored(self) -> Volume:
        """Return the uint8 volume that is 1 where nobody looked."""
        return self._by_block([0], ignored=1)

    def ignoring(self, parts: Sequence[tuple[slice, ...]]) -> "BlockMap":
        """Return the map with some parts [z, y, x] that nobody looked at."""
        if not parts:
            return self
        numbers = self._by_block(np.arange(len(self.blocks) + 1), ignored=IGNORED)
        for part in parts:
            numbers.voxels[part] = IGNORED
        return BlockMap(numbers, self.blocks)

    def _by_block(self, table: Sequence[int] | NDArray[Any], *, ignored: int = 0) -> Volume:
        """Return what a table says of each voxel's block, in one look-up."""
        by_number = np.zeros(256, np.uint8)
        by_number[: len(table)] = table
        by_number[IGNORED] = ignored
        return look_up(self.volume, by_number[self.number_of])


def structures_on(side: str) -> frozenset[str]:
    """Return the structures of the vocabulary that lie on one side of the body."""
    return frozenset(name for name, s in vocabulary().items() if s.laterality == side)


def look_up(volume: Volume, table: np.ndarray) -> Volume:
    """Return `table[volume]` (uint8) on the same grid.

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
