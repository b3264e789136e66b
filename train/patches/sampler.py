"""Sampler: the patches of an epoch, drawn before any voxel is read; and a batch of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from manifests.classes.merged import annotated_classes
from manifests.ground.errors import TrainingError
from train.boxes import Triple, triple
from train.settings import TrainSettings
from train.shapes import Images, Merged, Target


@dataclass(frozen=True)
class Candidate:
    """What the sampler must know of a case.

    Attributes:
        merged: Representative of each class [N].
        foreground: Flat indices of labelled voxels by representative above 0.
        looked_at: Flat indices of voxels that somebody looked at; None if all were.
    """

    case_id: str
    dataset: str
    merged: tuple[int, ...]
    shape_zyx: Triple
    foreground: Mapping[int, np.ndarray]
    looked_at: np.ndarray | None = None


@dataclass(frozen=True)
class PatchPlan:
    """One patch to cut.

    Attributes:
        centre_zyx: Voxel of the volume that the patch is centred on, as far as the volume's border
            allows.
        representative: The foreground group of the centre; None if the centre is any voxel.
        seed: Of the augmentation and of a method's draws, which do not depend on the rest of the
            batch.
    """

    case_id: str
    centre_zyx: Triple
    representative: int | None
    seed: int


@dataclass(frozen=True)
class CompletedLabels:
    """What a model says of the patches of a batch, and an annotator where there is one.

    Attributes:
        target: Representatives or `IGNORED`, int64 [B, z, y, x]; a patch without a completed label
            is ignored as a whole.
        merged: Representative of each class, int64 [B, N], on the CPU.
    """

    target: Target
    merged: Merged


@dataclass(frozen=True)
class Batch:
    """Patches that go through the network together.

    Attributes:
        images: The network's input, float32 [B, 1, z, y, x].
        target: Representatives or `IGNORED`, int64 [B, z, y, x], where the images are.
        merged: Representative of each class, int64 [B, N], on the CPU.
        seeds: Of a method's draws for each patch.
        completed: If some patch has a completed label.
    """

    case_ids: tuple[str, ...]
    images: Images
    target: Target
    merged: Merged
    seeds: tuple[int, ...] = ()
    completed: CompletedLabels | None = None

    def part(self, start: int, stop: int) -> "Batch":
        """Return some of its patches."""
        images, target, merged = (t[start:stop] for t in (self.images, self.target, self.merged))
        ids, seeds, more = self.case_ids[start:stop], self.seeds[start:stop], self.completed
        if more:
            more = CompletedLabels(more.target[start:stop], more.merged[start:stop])
        return Batch(ids, images, target, merged, seeds, more)


@dataclass
class _Draw:
    """A case that was drawn, with its class if it was drawn for one."""

    row: int
    class_id: int | None
    foreground: bool


def plan_epoch(
    candidates: Sequence[Candidate], settings: TrainSettings, generator: np.random.Generator
) -> list[tuple[PatchPlan, ...]]:
    """Draw an epoch, with a foreground patch in each batch; the last batch may be smaller.

    With `balance = "dataset"`, each dataset has the same number of patches; every case of a dataset
    is equally probable, and within a case every foreground group that it holds. With "class", every
    class that some case annotates is equally probable, and then every case that annotates it. A
    case that merges a class with another does not annotate it.

    Raises:
        TrainingError: No case of a dataset holds a labelled voxel.

    Source: section 4.4 (balance by dataset).
    """
    rows = _rows_by_dataset(candidates)
    count = len(rows) * settings.patches_per_dataset
    if settings.balance == "dataset":
        drawn = _draw_by_dataset(rows, settings.patches_per_dataset, generator)
    else:
        drawn = _draw_by_class(candidates, count, generator)
    for one, chance in zip(drawn, generator.random(count), strict=True):
        one.foreground = bool(chance < settings.foreground_probability)
    seeds = generator.integers(2**63, size=count).tolist()
    batches: list[tuple[PatchPlan, ...]] = []
    for start in range(0, count, settings.batch_size):
        stop = start + settings.batch_size
        batch = drawn[start:stop]
        _ensure_foreground(batch, candidates, generator)
        patches: list[PatchPlan] = []
        for one, seed in zip(batch, seeds[start:stop], strict=True):
            candidate = candidates[one.row]
            centre = draw_centre(
                candidate,
                settings.patch_size_zyx,
                generator,
                foreground=one.foreground,
                class_id=one.class_id,
            )
            patches.append(PatchPlan(candidate.case_id, *centre, seed))
        batches.append(tuple(patches))
    return batches


def _rows_by_dataset(candidates: Sequence[Candidate]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, candidate in enumerate(candidates):
        rows.setdefault(candidate.dataset, []).append(row)
    for dataset, indices in rows.items():
        if not any(candidates[i].foreground for i in indices):
            msg = (
                f"dataset {dataset!r}: none of its {len(indices)} training cases holds a labelled "
                f"voxel, so that no batch of it could have foreground; leave it out with the "
                f"setting datasets"
            )
            raise TrainingError(msg)
    return dict(sorted(rows.items()))


def _draw_by_dataset(
    rows: Mapping[str, list[int]], each: int, generator: np.random.Generator
) -> list[_Draw]:
    drawn = np.concatenate([generator.choice(indices, each) for indices in rows.values()])
    return [_Draw(int(row), None, foreground=False) for row in generator.permutation(drawn)]


def _draw_by_class(
    candidates: Sequence[Candidate], count: int, generator: np.random.Generator
) -> list[_Draw]:
    annotating: dict[int, list[int]] = {}
    for row, candidate in enumerate(candidates):
        for class_id in annotated_classes(candidate.merged):
            annotating.setdefault(class_id, []).append(row)
    classes = generator.choice(sorted(annotating), count).tolist()
    return [_Draw(int(generator.choice(annotating[n])), n, foreground=False) for n in classes]


def _ensure_foreground(
    batch: Sequence[_Draw], candidates: Sequence[Candidate], generator: np.random.Generator
) -> None:
    """Make one patch of a batch a foreground patch, in place, if none is."""
    holders = [one for one in batch if candidates[one.row].foreground]
    if any(one.foreground for one in holders):
        return
    chosen = (holders or batch)[int(generator.integers(len(holders or batch)))]
    chosen.foreground = True
    if not holders:
        # replaced by a case of the same dataset, so that the datasets stay in balance
        dataset = candidates[chosen.row].dataset
        siblings = [i for i, c in enumerate(candidates) if c.dataset == dataset and c.foreground]
        chosen.row = int(generator.choice(siblings))


def draw_centre(
    candidate: Candidate,
    patch_size_zyx: Triple,
    generator: np.random.Generator,
    *,
    foreground: bool,
    class_id: int | None = None,
) -> tuple[Triple, int | None]:
    """Draw the centre of a patch, and the foreground group that it belongs to, if any.

    With `foreground`, it is a labelled voxel, if the case has one: of the class, if that is given
    and there, or else of any group with the same probability.
    """
    representative = None
    if foreground and candidate.foreground:
        representative = _representative(candidate, class_id, generator)
    if representative is None:
        centre = _anywhere(candidate, patch_size_zyx, generator)
    else:
        flat = int(generator.choice(candidate.foreground[representative]))
        centre = np.array(np.unravel_index(flat, candidate.shape_zyx))
    return triple(centre.tolist()), representative


def _representative(
    candidate: Candidate, class_id: int | None, generator: np.random.Generator
) -> int:
    """Draw the foreground group to centre on: that of the class, or any that the case holds."""
    # a case may be here in place of the one that was drawn, and merge the class with others
    if class_id in candidate.foreground.keys() & annotated_classes(candidate.merged):
        return class_id
    return int(generator.choice(sorted(candidate.foreground)))


def _anywhere(
    candidate: Candidate, patch_size_zyx: Triple, generator: np.random.Generator
) -> np.ndarray:
    if candidate.looked_at is not None:
        flat = int(generator.choice(candidate.looked_at))
        return np.array(np.unravel_index(flat, candidate.shape_zyx))
    # every position within the volume is equally probable, not every centre: half of all centres
    # would be moved to the same few positions along the border
    size, shape = np.array(patch_size_zyx), np.array(candidate.shape_zyx)
    start = generator.integers(np.maximum(shape - size, 0), endpoint=True)
    # where the patch is the longer one, it stays about the volume, and so does what turns it
    return start + np.minimum(size, shape) // 2
