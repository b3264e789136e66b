"""Batches: the planned patches are cut, copied to the device and augmented there."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from manifests.classes.label_space import IGNORED
from train.augmentation.patch_change import (
    PatchChange,
    apply_to_voxels,
    change_classes,
    draw_change,
)
from train.boxes import Placement, patch_box
from train.device import on_device
from train.laterality import mirrored_classes
from train.patches.mapped_case import MappedCase, with_ignored
from train.patches.residence import CaseVoxels, Residence, check_labels, open_residence
from train.patches.sampler import Batch, CompletedLabels, PatchPlan
from train.planning.plan import TrainingPlan

_FIRST = 256  # the annotator's label is so many times the completed one, where both are one number

_Labels = tuple[Tensor, tuple[int, ...]]  # representatives, and merged classes


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
    voxels = source.residence.voxels(plan.case_id).each(lambda v: v[inside.slices])
    if source.residence.kind != "device":
        check_labels(case, voxels)
        voxels = voxels.each(lambda v: _pinned_copy(v, source.device))
    return _Cut(plan, change, Placement(patch, plan.centre_zyx, inside), voxels)


def _pinned_copy(voxels: Tensor, device: torch.device) -> Tensor:
    """Return a copy in memory that a GPU can read while the host continues."""
    copy = torch.empty(voxels.shape, dtype=voxels.dtype, pin_memory=device.type == "cuda")
    return copy.copy_(voxels)


def _finish(source: BatchSource, cuts: Sequence[_Cut]) -> Batch:
    patches = [_finish_one(source, cut) for cut in cuts]
    images, labels, completed = zip(*patches, strict=True)
    return Batch(
        case_ids=tuple(cut.plan.case_id for cut in cuts),
        images=torch.stack(images)[:, None],
        target=torch.stack([target for target, _ in labels]),
        merged=torch.tensor([merged for _, merged in labels]),
        seeds=tuple(cut.plan.seed for cut in cuts),
        completed=_completed(labels, completed) if any(completed) else None,
    )


def _completed(labels: Sequence[_Labels], completed: Sequence[_Labels | None]) -> CompletedLabels:
    targets = [torch.full_like(target, IGNORED) for target, _ in labels]
    merged = [row for _, row in labels]
    for n, found in enumerate(completed):
        if found:
            targets[n], merged[n] = found
    return CompletedLabels(torch.stack(targets), torch.tensor(merged))


def _finish_one(source: BatchSource, cut: _Cut) -> tuple[Tensor, _Labels, _Labels | None]:
    hu, ids, more = cut.voxels.each(lambda v: on_device(v, source.device))
    if more is not None:  # two labels in one number move together
        ids = ids.int() * _FIRST + more
    image, ids = apply_to_voxels(
        hu, ids, cut.change, normalisation=source.plan.normalisation, placement=cut.placement
    )
    case = source.residence.cases[cut.plan.case_id]
    if more is None or case.completion is None:
        return image, _labels(source, cut, ids, case.merged), None
    completed = _labels(source, cut, ids % _FIRST, case.completion.merged)
    return image, _labels(source, cut, ids // _FIRST, case.merged), completed


def _labels(source: BatchSource, cut: _Cut, ids: Tensor, merged: tuple[int, ...]) -> _Labels:
    """Return representatives and merged classes of a patch.

    `merged` is applied here and not when the files are written: a manifest edit rewrites no volume.
    """
    becomes, merged = change_classes(merged, cut.change, source.mirrored_classes)
    table = on_device(torch.tensor(with_ignored(becomes)), source.device)
    return table.index_select(0, ids.flatten().int()).view(ids.shape), merged
