"""Batches: the planned patches are cut, copied to the device and augmented there."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from train.augmentation.patch_change import (
    PatchChange,
    apply_to_voxels,
    change_classes,
    draw_change,
)
from train.boxes import Placement, patch_box
from train.device import on_device
from train.laterality import mirrored_classes
from train.patches.mapped_case import MappedCase, check_label, with_ignored
from train.patches.residence import CaseVoxels, Residence, open_residence
from train.patches.sampler import Batch, PatchPlan
from train.planning.plan import TrainingPlan


@dataclass(frozen=True)
class BatchSource:
    """What batches are made from, and the device that they go to.

    Attributes:
        mirrored_classes: The class that each class becomes in a mirror along x.
    """

    residence: Residence
    plan: TrainingPlan
    mirrored_classes: tuple[int, ...]
    device: torch.device


@dataclass(frozen=True)
class _Cut:
    """The voxels that a patch is made from, and what is to be done with them."""

    plan: PatchPlan
    change: PatchChange
    placement: Placement
    voxels: CaseVoxels


def batch_source(
    cases: Sequence[MappedCase], plan: TrainingPlan, device: torch.device
) -> BatchSource:
    """Load the cases as the settings ask, and return what batches are made from.

    Raises:
        TrainingError: Patches are to be mirrored from left to right, and the label space does not
            allow it; or the cases cannot be held where the settings ask.
    """
    is_mirrored = plan.settings.augmentation.mirror_zyx[-1] > 0
    space = plan.label_space
    mirrored = mirrored_classes(space) if is_mirrored else tuple(range(len(space)))
    residence = open_residence(cases, plan.settings.residence, device)
    return BatchSource(residence, plan, mirrored, device)


def read_batches(source: BatchSource, plan: Sequence[Sequence[PatchPlan]]) -> Generator[Batch]:
    """Make the planned batches in order; unless cases are on the device, threads cut in advance.

    The number and the order of the threads do not change the batches.

    Raises:
        TrainingError: A case's file is gone, or a label volume holds a value that is no class.
    """
    if source.residence.kind == "device":
        for patches in plan:
            yield _finish(source, _cut(source, patches))
        return
    workers = source.plan.settings.workers
    waiting: deque[Future[list[_Cut]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="patches") as pool:
        try:
            for patches in plan:
                waiting.append(pool.submit(_cut, source, patches))
                if len(waiting) > workers:
                    yield _finish(source, waiting.popleft().result())
            while waiting:
                yield _finish(source, waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


def _cut(source: BatchSource, patches: Sequence[PatchPlan]) -> list[_Cut]:
    return [_cut_one(source, patch) for patch in patches]


def _cut_one(source: BatchSource, plan: PatchPlan) -> _Cut:
    case, grid = source.residence.cases[plan.case_id], source.plan.patch_grid
    change = draw_change(source.plan.settings.augmentation, grid, plan.seed)
    patch = patch_box(plan.centre_zyx, grid.size_zyx, case.shape_zyx)
    inside = change.source_box(patch, plan.centre_zyx).within(case.shape_zyx)
    hu, label = (voxels[inside.slices] for voxels in source.residence.voxels(plan.case_id))
    if source.residence.kind != "device":
        check_label(case, label)
        hu, label = (_pinned_copy(voxels, source.device) for voxels in (hu, label))
    placement = Placement(patch, plan.centre_zyx, inside)
    return _Cut(plan, change, placement, CaseVoxels(hu, label))


def _pinned_copy(voxels: Tensor, device: torch.device) -> Tensor:
    """Return a copy in memory that a GPU can read while the host continues."""
    copy = torch.empty(voxels.shape, dtype=voxels.dtype, pin_memory=device.type == "cuda")
    return copy.copy_(voxels)


def _finish(source: BatchSource, cuts: Sequence[_Cut]) -> Batch:
    images, targets, merged = zip(*(_finish_one(source, cut) for cut in cuts), strict=True)
    return Batch(
        case_ids=tuple(cut.plan.case_id for cut in cuts),
        images=torch.stack(images)[:, None],
        target=torch.stack(targets),
        merged=torch.tensor(merged),
        seeds=tuple(cut.plan.seed for cut in cuts),
    )


def _finish_one(source: BatchSource, cut: _Cut) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    hu, label = (on_device(voxels, source.device) for voxels in cut.voxels)
    image, ids = apply_to_voxels(
        hu, label, cut.change, normalisation=source.plan.normalisation, placement=cut.placement
    )
    # applied here and not when the files are written: a manifest edit rewrites no volume
    merged = source.residence.cases[cut.plan.case_id].merged
    becomes, merged = change_classes(merged, cut.change, source.mirrored_classes)
    table = on_device(torch.tensor(with_ignored(becomes)), source.device)
    return image, table.index_select(0, ids.flatten().int()).view(ids.shape), merged
