"""Dataset: prepared cases for a training loop of one's own, in PyTorch, MONAI or TorchIO."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from train.augmentation.intensity import IntensityChange
from train.augmentation.patch_change import PatchChange, apply_to_voxels
from train.boxes import Box, Placement, Triple, patch_box, triple
from train.model import Normalisation
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import MappedCase, check_label, open_case, with_ignored
from train.patches.sampler import draw_centre

_UNCHANGED = PatchChange(warp=None, mirrored_axes=(), intensity=IntensityChange())
_HU = Normalisation(low_hu=-np.inf, high_hu=np.inf, mean_hu=0.0, std_hu=1.0)
_THREADS = 2  # that look for labelled voxels


class Sample(TypedDict):
    """One case or patch of it, with the axes z, y, x.

    Keys:
        image: float32 [1, z, y, x], normalised or in Hounsfield units.
        label: Representatives, or 255 where nobody looked, uint8 [1, z, y, x].
        merged: Representative of each class, int64 [N].
        affine: float64 [4, 4], from voxel indices z, y, x to millimetres in RAS, as in NIfTI.
        case_id: As in the manifest.
    """

    image: Tensor
    label: Tensor
    merged: Tensor
    affine: Tensor
    case_id: str


@final
class CaseDataset(Dataset[Any]):
    """Whole cases, or one random patch of each, by index.

    It holds paths and no voxels, so that it can be pickled to the workers of a DataLoader. Patches
    are drawn from PyTorch's own random numbers, which a DataLoader seeds in each worker and epoch:
    `torch.manual_seed` before the training repeats them.

    Attributes:
        cases: The manifest's rows, in the order of the indices.
    """

    def __init__(
        self,
        manifest: Manifest,
        cases: Sequence[Case],
        *,
        patch_size_zyx: Triple | None = None,
        foreground_probability: float = 0.5,
        normalisation: Normalisation | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        """Check that the files of the cases are what the manifest says.

        Args:
            manifest: Where the cases are.
            cases: Some of its cases.
            patch_size_zyx: Voxels of a patch; left out, items are whole cases.
            foreground_probability: Probability that a patch is centred on a labelled voxel, of any
                class with the same probability.
            normalisation: Of the intensities; left out, they are Hounsfield units.
            transform: Called with each item.

        Raises:
            TrainingError: There is no case, a file is missing or not what the manifest says, or,
                for patches, a label volume holds a value that is no class.
        """
        if not cases:
            msg = (
                f"expected some of the {len(manifest)} cases in {manifest.folder}, got none; "
                f"`marginalia split` assigns cases to train, validation and test"
            )
            raise TrainingError(msg)
        self.cases = tuple(cases)
        self._mapped = tuple(open_case(manifest, case) for case in cases)
        self._patch_size_zyx = patch_size_zyx
        self._foreground_probability = foreground_probability
        self._candidates = (
            find_candidates(self._mapped, manifest.folder, workers=_THREADS)
            if patch_size_zyx
            else ()
        )
        self._normalisation = normalisation or _HU
        self._transform = transform

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.cases)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        """Return a `Sample`, or what the transform makes of it.

        Beyond the volume, a patch is air and background.

        Raises:
            IndexError: There is no such case.
            TrainingError: The case's file is gone, or its label holds a value that is no class.
        """
        mapped, case = self._mapped[index], self.cases[index]
        sample = _cut(mapped, case, self._placement(index, mapped), self._normalisation)
        return sample if self._transform is None else self._transform(sample)

    def _placement(self, index: int, case: MappedCase) -> Placement:
        whole = Box((0, 0, 0), case.shape_zyx)
        if self._patch_size_zyx is None:
            return Placement(whole, triple(n // 2 for n in case.shape_zyx), whole)
        generator = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
        centre, _ = draw_centre(
            self._candidates[index],
            self._patch_size_zyx,
            generator,
            foreground=generator.random() < self._foreground_probability,
        )
        patch = patch_box(centre, self._patch_size_zyx, case.shape_zyx)
        return Placement(patch, centre, patch.within(case.shape_zyx))


def _cut(
    mapped: MappedCase, case: Case, placement: Placement, normalisation: Normalisation
) -> Sample:
    inside = placement.inside.slices
    label = mapped.label_file.map()[inside]
    check_label(mapped, label)
    image, ids = apply_to_voxels(
        mapped.image_file.map()[inside],
        label,
        _UNCHANGED,
        normalisation=normalisation,
        placement=placement,
    )
    merged = torch.tensor(mapped.merged)
    table = torch.tensor(with_ignored(mapped.merged), dtype=torch.uint8)
    # a tensor of its own: the map's memory cannot be handed to another process
    label = table.index_select(0, ids.flatten().int()).view(1, *ids.shape)
    affine = torch.from_numpy(_affine(case, placement.patch))
    return Sample(
        image=image[None], label=label, merged=merged, affine=affine, case_id=case.case_id
    )


def _affine(case: Case, patch: Box) -> np.ndarray:
    """Return the matrix from voxel indices z, y, x of a patch to RAS millimetres."""
    to_ras = np.array([-1.0, -1.0, 1.0])  # the cases' axes point along L, P, S
    spacing_mm, origin_mm = np.array(case.spacing_mm), np.array(case.origin_mm)
    start_xyz = np.array(patch.start_zyx[::-1])
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(to_ras * spacing_mm))
    affine[:3, 3] = to_ras * (origin_mm + spacing_mm * start_xyz)
    return affine
