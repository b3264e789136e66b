"""Sampler: which patches make an epoch, and how they are read.

An epoch is planned first, as values, from a generator that is passed in; then threads read it.
What they do, and in what order, cannot change what comes out.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

from manifests.errors import TrainingError
from train.shapes import Merged, Target
from train.volumes import Triple, Volume, read_patch

HuPatches = Int16[Tensor, "batch 1 z y x"]


@dataclass(frozen=True)
class PatchPlan:
    """One patch to cut.

    Attributes:
        volume: Index of the case among the epoch's volumes.
        centre_zyx: Voxel that the patch is centred on, as far as the volume's border allows.
        representative: The foreground group that the centre is labelled with; none: any voxel.
    """

    volume: int
    centre_zyx: Triple
    representative: int | None


@dataclass(frozen=True)
class Batch:
    """Patches that go through the network together.

    Attributes:
        case_ids: Where each patch is from.
        hu: Hounsfield units, int16 [B, 1, z, y, x].
        target: Representatives, int64 [B, z, y, x].
        merged: Representative of each class, int64 [B, N].
    """

    case_ids: tuple[str, ...]
    hu: HuPatches
    target: Target
    merged: Merged


def plan_epoch(
    volumes: Sequence[Volume],
    generator: np.random.Generator,
    *,
    patch_size_zyx: Triple,
    patches_per_dataset: int,
    batch_size: int,
    foreground_probability: float,
) -> list[tuple[PatchPlan, ...]]:
    """Draw an epoch: as many patches from each dataset, one with foreground in each batch.

    Every case of a dataset is equally likely, and within a case every foreground group that it
    holds. The last batch may be smaller.

    Raises:
        TrainingError: No case of a dataset holds a labelled voxel.

    Source: section 4.4.
    """
    rows = _rows_by_dataset(volumes)
    drawn = np.concatenate([generator.choice(r, patches_per_dataset) for r in rows.values()])
    drawn = generator.permutation(drawn)
    wanted = generator.random(drawn.size) < foreground_probability
    batches: list[tuple[PatchPlan, ...]] = []
    for start in range(0, drawn.size, batch_size):
        chosen = drawn[start : start + batch_size].tolist()
        labelled = wanted[start : start + batch_size].tolist()
        _ensure_foreground(chosen, labelled, volumes, generator)
        batches.append(
            tuple(
                _plan_foreground(volumes[index], index, generator)
                if foreground and volumes[index].foreground
                else _plan_anywhere(volumes[index], index, generator, patch_size_zyx)
                for index, foreground in zip(chosen, labelled, strict=True)
            )
        )
    return batches


def read_batches(
    volumes: Sequence[Volume],
    plan: Iterable[Sequence[PatchPlan]],
    *,
    patch_size_zyx: Triple,
    workers: int,
) -> Generator[Batch]:
    """Read the planned batches in order, a few ahead of the one that is asked for."""
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="patches") as pool:
        try:
            for patches in plan:
                waiting.append(pool.submit(cut, volumes, patches, patch_size_zyx))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def cut(volumes: Sequence[Volume], patches: Sequence[PatchPlan], patch_size_zyx: Triple) -> Batch:
    """Read the patches of one batch."""
    read = [read_patch(volumes[p.volume], p.centre_zyx, patch_size_zyx) for p in patches]
    return Batch(
        case_ids=tuple(volumes[p.volume].case_id for p in patches),
        hu=torch.from_numpy(np.stack([patch.hu for patch in read])[:, None]),
        target=torch.from_numpy(np.stack([patch.target for patch in read]).astype(np.int64)),
        merged=torch.tensor([volumes[p.volume].merged for p in patches]),
    )


def _rows_by_dataset(volumes: Sequence[Volume]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, volume in enumerate(volumes):
        rows.setdefault(volume.dataset, []).append(index)
    for dataset, indices in rows.items():
        if not any(volumes[i].foreground for i in indices):
            msg = (
                f"dataset {dataset!r}: none of its {len(indices)} training cases holds a labelled "
                f"voxel, so that no batch of it could have foreground; leave it out with the "
                f"setting datasets"
            )
            raise TrainingError(msg)
    return dict(sorted(rows.items()))


def _ensure_foreground(
    chosen: list[int],
    labelled: list[bool],
    volumes: Sequence[Volume],
    generator: np.random.Generator,
) -> None:
    """Make one patch of a batch a foreground patch, in place, if none is."""
    if any(wish and volumes[i].foreground for i, wish in zip(chosen, labelled, strict=True)):
        return
    holders = [slot for slot, i in enumerate(chosen) if volumes[i].foreground]
    slot = int(generator.choice(holders or len(chosen)))
    labelled[slot] = True
    if not holders:
        # a sibling takes the place of a case without foreground: the datasets stay in balance
        dataset = volumes[chosen[slot]].dataset
        siblings = [i for i, v in enumerate(volumes) if v.dataset == dataset and v.foreground]
        chosen[slot] = int(generator.choice(siblings))


def _plan_foreground(volume: Volume, index: int, generator: np.random.Generator) -> PatchPlan:
    representative = int(generator.choice(sorted(volume.foreground)))
    flat = int(generator.choice(volume.foreground[representative]))
    z, y, x = np.unravel_index(flat, volume.shape_zyx)
    return PatchPlan(index, (int(z), int(y), int(x)), representative)


def _plan_anywhere(
    volume: Volume, index: int, generator: np.random.Generator, patch_size_zyx: Triple
) -> PatchPlan:
    # every position within the volume is equally likely, not every centre: half of all centres
    # would be moved to the same few positions along the border
    size = np.array(patch_size_zyx)
    room = np.maximum(np.array(volume.shape_zyx) - size, 0)
    z, y, x = generator.integers(room, endpoint=True) + size // 2
    return PatchPlan(index, (int(z), int(y), int(x)), None)
