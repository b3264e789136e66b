"""Voxels: the logits and labels of some voxels of one sample, and what both passes make of them.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from train.shapes import ByClass, ByGroup, ByVoxel, ClassRow, Groups, GroupTable, LabelRow


def looking_stalls(tensor: Tensor) -> bool:
    """Whether the host would have to wait until a GPU has worked out this tensor's values."""
    return tensor.device.type != "cpu"


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of a batch, and tables with a row for each of its groups.

    Attributes:
        logits: In any memory layout.
        target: Representatives.
        merged: Each class's representative.
        groups: The representatives; ids that no voxel is labelled with may be among them.
        member: 1 where class n is in group m.
        excluded: 1 where the label m excludes class n (Eq. 9).
    """

    logits: ByClass
    target: LabelRow
    merged: ClassRow
    groups: Groups
    member: GroupTable
    excluded: GroupTable

    @classmethod
    def of(cls, logits: ByClass, target: LabelRow, merged: ClassRow) -> "Sample":
        """The sample with its tables, in float64 for float64 logits and float32 for all others."""
        exact = torch.promote_types(logits.dtype, torch.float32)
        classes = torch.arange(len(merged), device=merged.device)
        groups = classes if looking_stalls(merged) else merged.unique()
        member = merged == groups[:, None]
        excluded = ~member & (groups != 0)[:, None]  # background excludes nothing,
        excluded[:, 0] = False  # and is excluded from nothing
        return cls(logits, target, merged, groups, member.to(exact), excluded.to(exact))

    def read(self, chosen: slice) -> "Voxels":
        """Some of the sample's voxels."""
        logits = self.logits[:, chosen].to(self.member.dtype)
        if logits.stride(1) != 1:  # channels last, in which all that follows would be slow
            logits = torch.stack(logits.unbind())
        return Voxels(self, logits, self.target[chosen])


@dataclass(frozen=True, eq=False)
class Voxels:
    """Some voxels of a sample; each part is worked out once, and only if it is asked for."""

    sample: Sample
    logits: ByClass
    target: LabelRow

    @cached_property
    def p(self) -> ByClass:
        """Probability of each class (Eq. 1)."""
        return self.logits.softmax(0)

    @cached_property
    def labelled(self) -> ByGroup:
        """1 where a voxel is labelled with group m: z of Eq. 5."""
        groups, target = (ids.to(self.logits.dtype) for ids in (self.sample.groups, self.target))
        # compared as numbers of the result's type: several times faster than by way of booleans
        return torch.eq(groups[:, None], target, out=target.new_empty(len(groups), len(target)))

    def look_up(self, table: GroupTable) -> ByClass:
        """The row of each voxel's label, upright; zeros for a label that is no group."""
        return table.T @ self.labelled

    @cached_property
    def q(self) -> ByVoxel:
        """Probability of the labelled group (Eq. 4)."""
        return (self.sample.member @ self.p).mul_(self.labelled).sum(0)

    @cached_property
    def log_q(self) -> ByVoxel:
        """Its logarithm, finite even where q is too small for its type (Eq. 5)."""
        log_q = self.q.log()
        if self.underflow is not None:
            total = self.logits[:, self.underflow].logsumexp(0)
            log_q[self.underflow] = self._inside.logsumexp(0) - total
        return log_q

    @cached_property
    def labelled_over_q(self) -> ByGroup:
        """Derivative of log q by the groups' probabilities: z / q of Eq. 8; 0 at underflow."""
        ratio = self.labelled / self.q
        if self.underflow is not None:
            ratio[:, self.underflow] = 0
        return ratio

    @property
    def by_logits_at_underflow(self) -> ByClass:
        """Derivative of log q by the logits where q underflows: Eq. 8 with both p / q as one."""
        return self._inside.softmax(0) - self.p[:, self.underflow]

    @cached_property
    def underflow(self) -> LabelRow | None:
        """Indices of voxels, among them all whose q is too small for its type; None if none is."""
        if looking_stalls(self.q):  # so all take the way that is safe
            return torch.arange(len(self.q), device=self.q.device)
        small = self.q < torch.finfo(self.q.dtype).tiny
        return small.nonzero().flatten() if small.any() else None

    @cached_property
    def _inside(self) -> Tensor:
        """Logits of the labelled group's classes at underflow, minus infinity for all others."""
        inside = self.sample.merged[:, None] == self.target[self.underflow]
        return torch.where(inside, self.logits[:, self.underflow], -torch.inf)
