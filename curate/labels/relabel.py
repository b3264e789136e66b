"""From label values to blocks of structures, and from those to the classes of a label space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import SimpleITK as sitk

from manifests.label_space import LabelSpace
from manifests.merged import Block, Merged, representative_of
from manifests.structures import vocabulary


@dataclass(frozen=True)
class BlockMap:
    """A label volume whose values are numbers of blocks.

    Attributes:
        volume: uint8; 0 is what no block covers, `n` is `blocks[n - 1]`.
        blocks: The structures that each value covers; disjoint.
    """

    volume: sitk.Image
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, label: sitk.Image, values: Mapping[int, Sequence[str]]) -> Self:
        """Number the blocks of a label volume that holds only 0 and the keys of `values`."""
        blocks = tuple(dict.fromkeys(frozenset(v) for v in values.values()))
        table = np.zeros(max(values) + 1, np.uint8)
        for value, structures in values.items():
            table[value] = blocks.index(frozenset(structures)) + 1
        return cls(look_up(label, table), blocks)

    def two_sided(self) -> sitk.Image:
        """uint8 volume: 1 where a block holds structures of both sides of the body."""
        left, right = sided("left"), sided("right")
        wanted = [bool(block & left) and bool(block & right) for block in self.blocks]
        return look_up(self.volume, np.array([0, *wanted], np.uint8))

    def by_side(self, sides: sitk.Image) -> "BlockMap":
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
        old, side = map(sitk.GetArrayViewFromImage, (self.volume, sides))
        parted = _looked_up(old, table[:, 0])
        where = np.flatnonzero(side)
        parted.reshape(-1)[where] = table[old.reshape(-1)[where], side.reshape(-1)[where]]
        return BlockMap(_on_grid_of(self.volume, parted), tuple(blocks))

    def to_classes(self, space: LabelSpace, merged: Merged) -> sitk.Image:
        """The uint8 volume of representatives."""
        table = [representative_of(block, space, merged) for block in self.blocks]
        return look_up(self.volume, np.array([0, *table], np.uint8))


def sided(side: str) -> frozenset[str]:
    """The structures of the vocabulary that lie on one side of the body."""
    return frozenset(name for name, s in vocabulary().items() if s.laterality == side)


def look_up(volume: sitk.Image, table: np.ndarray) -> sitk.Image:
    """`table[volume]` (uint8), on the same grid."""
    return _on_grid_of(volume, _looked_up(sitk.GetArrayViewFromImage(volume), table))


def _looked_up(voxels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """`table[voxels]`, layer by layer: an array that serves as an index takes eight times as much.

    Up to 256 entries, the translation of bytes is ten times as fast.
    """
    found = np.empty(voxels.shape, np.uint8)
    every = bytes(table).ljust(256, b"\0")
    for old, new in zip(voxels, found, strict=True):
        if len(table) > 256:
            new[...] = table[old]
        else:
            translated = old.astype(np.uint8).tobytes().translate(every)
            new[...] = np.frombuffer(translated, np.uint8).reshape(new.shape)
    return found


def _on_grid_of(volume: sitk.Image, voxels: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(volume)
    return image
