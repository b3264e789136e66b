"""Some voxels of one sample: the probabilities that the losses' sums and gradients are made of.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from manifests.classes.label_space import IGNORED
from train.shapes import (
    ByClass,
    ByGroup,
    ByVoxel,
    ClassRow,
    GroupColumn,
    GroupPairs,
    Groups,
    GroupTable,
    LabelRow,
    MergedRows,
    VoxelRow,
)

EVERYWHERE = slice(None)


def would_sync(tensor: Tensor) -> bool:
    """Return whether reading this tensor's values makes the host wait for a GPU."""
    return tensor.device.type != "cpu"


def class_pairs(merged: MergedRows, groups: Groups) -> tuple[GroupPairs, GroupPairs]:
    """Return whether class n is inside of group m, and whether the label m excludes it (Eq. 9)."""
    column = groups[:, None]
    inside = merged[..., None, :] == column
    excluded = ~inside & (column != 0)  # background excludes nothing,
    excluded[..., 0] = False  # and is excluded from nothing
    return inside, excluded


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a sample's annotator told apart, as tables with a row for each group.

    Attributes:
        merged: Each class's representative.
        groups: The representatives; ids that no voxel is labelled with may be among them.
        labels: The same as a column of the tables' type.
        member: 1 where class n is in group m.
        excluded: 1 where the label m excludes class n (Eq. 9).
    """

    merged: ClassRow
    groups: Groups
    labels: GroupColumn
    member: GroupTable
    excluded: GroupTable

    @classmethod
    def of(cls, merged: ClassRow, logits: torch.dtype) -> "Annotation":
        """Return the tables in float64 for float64 logits, else in float32."""
        exact = torch.promote_types(logits, torch.float32)
        classes = torch.arange(len(merged), device=merged.device)
        groups = classes if would_sync(merged) else merged.unique()
        tables = groups[:, None], *class_pairs(merged, groups)
        return cls(merged, groups, *(table.to(exact) for table in tables))


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of a batch, at one level.

    Attributes:
        logits: In any memory layout.
        target: Representatives.
        annotation: What they tell apart.
    """

    logits: ByClass
    target: LabelRow
    annotation: Annotation

    def read(self, chosen: slice) -> "SampleVoxels":
        """Return some of the sample's voxels."""
        logits = self.logits[:, chosen].to(self.annotation.member.dtype)
        if logits.stride(1) != 1:  # channels last, in which all that follows would be slow
            logits = torch.stack(logits.unbind())
        return SampleVoxels(self.annotation, logits, self.target[chosen])


@dataclass(frozen=True, eq=False)
class SampleVoxels:
    """Some voxels of a sample; each part is computed once, and only if it is asked for."""

    annotation: Annotation
    logits: ByClass
    target: LabelRow

    @cached_property
    def p(self) -> ByClass:
        """Return the probability of each class (Eq. 1)."""
        return self.logits.softmax(0)

    @cached_property
    def labelled(self) -> ByGroup:
        """Return 1 where a voxel is labelled with group m: z of Eq. 5; an ignored one has none."""
        labels, target = self.annotation.labels, self.target.to(self.logits.dtype)
        # compared as numbers of the result's type: several times faster than by way of booleans
        return torch.eq(labels, target, out=target.new_empty(len(labels), len(target)))

    def look_up(self, table: GroupTable) -> ByClass:
        """Return the row of each voxel's label as a column; zeros for an ignored voxel."""
        return table.T @ self.labelled

    @property
    def q(self) -> ByVoxel:
        """Return the probability of the labelled group (Eq. 4); 1 for ignored voxels."""
        return self._q_and_underflow[0]

    @property
    def underflow(self) -> LabelRow | slice | None:
        """Return where voxels are, among them all whose q underflows; None if there is none."""
        # q need not be known, nor looked at, if all voxels take the safe path
        return EVERYWHERE if would_sync(self.logits) else self._q_and_underflow[1]

    @cached_property
    def _q_and_underflow(self) -> tuple[ByVoxel, Tensor | None]:
        q = (self.annotation.member @ self.p).mul_(self.labelled).sum(0)
        small = q < torch.finfo(q.dtype).tiny
        if not small.any():  # the q of ignored voxels are 0 up to here
            return q, None
        small &= ~self.ignored
        return q.masked_fill_(self.ignored, 1), small.nonzero().flatten() if small.any() else None

    @cached_property
    def ignored(self) -> VoxelRow:
        """Return whether nobody looked at a voxel."""
        return self.target == IGNORED

    @cached_property
    def log_q(self) -> ByVoxel:
        """Return log q, finite even where q underflows (Eq. 5)."""
        if self.underflow is None:
            return self.q.log()
        exact = self._inside.logsumexp(0) - self.logits[:, self.underflow].logsumexp(0)
        if self.underflow is EVERYWHERE:
            return exact
        log_q = self.q.log()
        log_q[self.underflow] = exact
        return log_q

    @cached_property
    def labelled_over_q(self) -> ByGroup:
        """Return the derivative of log q by the groups' q: z / q of Eq. 8; 0 at underflow."""
        ratio = self.labelled / self.q
        if self.underflow is not None:
            ratio[:, self.underflow] = 0
        return ratio

    @property
    def by_logits_at_underflow(self) -> ByClass:
        """Return the derivative of log q by the logits at underflow: Eq. 8, p / q as a softmax."""
        by_logits = self._inside.softmax(0) - self.p[:, self.underflow]
        return by_logits.mul_(~self.ignored[self.underflow])

    @cached_property
    def _inside(self) -> Tensor:
        """Return the labelled group's logits at underflow, minus infinity for other classes.

        Nothing is known of an ignored voxel: its group is that of all classes.
        """
        inside = self.annotation.merged[:, None] == self.target[self.underflow]
        inside |= self.ignored[self.underflow]
        return torch.where(inside, self.logits[:, self.underflow], -torch.inf)
