"""Batches: the planned patches are cut, brought to the device and changed there."""

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
from train.boxes import PatchGrid, Placement, patch_box
from train.laterality import mirrored_classes
from train.model import Normalisation
from train.patches.mapped_case import MappedCase, check_label
from train.patches.residence import Residence, Voxels, open_residence
from train.patches.sampler import Batch, PatchPlan
from train.planning.plan import TrainingPlan
from train.settings import TrainSettings


@dataclass(frozen=True)
class BatchSource:
    """What batches are made from.

    Attributes:
        residence: The training's volumes.
        settings: The training's.
        grid: Of a patch.
        normalisation: From Hounsfield units to the network's input.
        mirrored_classes: The class that each becomes in a mirror along x.
        device: Where the batches shall be.
    """

    residence: Residence
    settings: TrainSettings
    grid: PatchGrid
    normalisation: Normalisation
    mirrored_classes: tuple[int, ...]
    device: torch.device


@dataclass(frozen=True)
class _Cut:
    """The voxels that a patch is made from, wherever they are."""

    case_id: str
    seed: int
    change: PatchChange
    placement: Placement
    voxels: Voxels


def batch_source(
    volumes: Sequence[MappedCase], plan: TrainingPlan, device: torch.device
) -> BatchSource:
    """Bring the volumes to where they shall be, and put together what batches are made from.

    Raises:
        TrainingError: Patches shall be mirrored from left to right, and the label space does not
            allow it; or the volumes cannot be where the settings want them.
    """
    z, y, x = reversed(plan.spacing_mm)
    is_mirrored = plan.settings.augmentation.mirror_zyx[-1] > 0
    space = plan.label_space
    mirrored = mirrored_classes(space) if is_mirrored else tuple(range(len(space)))
    return BatchSource(
        residence=open_residence(volumes, plan.settings.residence, device),
        settings=plan.settings,
        grid=PatchGrid(plan.settings.patch_size_zyx, (z, y, x)),
        normalisation=plan.normalisation,
        mirrored_classes=mirrored,
        device=device,
    )


def read_batches(source: BatchSource, plan: Sequence[Sequence[PatchPlan]]) -> Generator[Batch]:
    """Make the planned batches in order; threads cut a few ahead from volumes that are elsewhere.

    What the threads do, and in what order, cannot change what comes out.

    Raises:
        TrainingError: A volume's file is gone, or a label volume holds a value that is no class.
    """
    if source.residence.kind == "device":
        for patches in plan:
            yield _finish(source, _cut(source, patches))
        return
    workers = source.settings.workers
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
    volume = source.residence.volumes[plan.case_id]
    change = draw_change(source.settings.augmentation, source.grid, plan.seed)
    patch = patch_box(plan.centre_zyx, source.grid.size_zyx, volume.shape_zyx)
    inside = change.source_box(patch, plan.centre_zyx).within(volume.shape_zyx)
    hu, label = (voxels[inside.slices] for voxels in source.residence.voxels(plan.case_id))
    if source.residence.kind != "device":
        check_label(volume, int(label.max()))
        hu, label = (_ready(voxels, source.device) for voxels in (hu, label))
    placement = Placement(patch, plan.centre_zyx, inside)
    return _Cut(plan.case_id, plan.seed, change, placement, Voxels(hu, label))


def _ready(voxels: Tensor, device: torch.device) -> Tensor:
    """A copy that can be brought to the device while the host does other things."""
    copy = torch.empty(voxels.shape, dtype=voxels.dtype, pin_memory=device.type == "cuda")
    return copy.copy_(voxels)


def _finish(source: BatchSource, cuts: Sequence[_Cut]) -> Batch:
    images, targets, merged = zip(*(_finish_one(source, cut) for cut in cuts), strict=True)
    return Batch(
        case_ids=tuple(cut.case_id for cut in cuts),
        images=torch.stack(images)[:, None],
        target=torch.stack(targets),
        merged=torch.tensor(merged),
        seeds=tuple(cut.seed for cut in cuts),
    )


def _finish_one(source: BatchSource, cut: _Cut) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    hu, label = (voxels.to(source.device, non_blocking=True) for voxels in cut.voxels)
    image, ids = apply_to_voxels(
        hu,
        label,
        cut.change,
        normalisation=source.normalisation,
        placement=cut.placement,
    )
    # applied here and not when the files were written: a manifest edit needs no volume rewritten
    merged = source.residence.volumes[cut.case_id].merged
    becomes, merged = change_classes(merged, cut.change, source.mirrored_classes)
    table = torch.tensor(becomes).to(source.device, non_blocking=True)
    return image, table.index_select(0, ids.flatten().int()).view(ids.shape), merged
