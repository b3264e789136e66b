"""Shapes of the tensors in training, by name, and a check that the tensors of a loss fit together.

The tests check the shapes at run time. `*space` is one to three spatial axes, `voxels` the same
axes flattened into one, and `classes` the N classes of the label space, background first.
"""

import torch
from jaxtyping import Bool, Float, Int16, Integer, UInt8
from torch import Tensor

from manifests.ground.errors import TrainingError

# of a volume, and of a patch that is made from it
HuVoxels = Int16[Tensor, "depth height width"]
ImageVoxels = Float[Tensor, "depth height width"]
LabelVoxels = UInt8[Tensor, "depth height width"]
IdVoxels = Integer[Tensor, "depth height width"]  # of one label, or of two in one number
ImagePatch = Float[Tensor, "z y x"]
IdPatch = Integer[Tensor, "z y x"]

Images = Float[Tensor, "batch channels *space"]
Features = Float[Tensor, "batch _ ..."]  # of any number of channels, at any resolution
Logits = Float[Tensor, "batch classes *space"]
ForegroundLogits = Float[Tensor, "batch foreground *space"]  # of all classes but the background
ForegroundMask = Bool[Tensor, "batch foreground"]
ClassOfSample = Integer[Tensor, "batch"]
LevelLogits = Float[Tensor, "batch classes ..."]  # of any resolution
Target = Integer[Tensor, "batch *space"]  # representatives, or IGNORED where nobody looked
LevelTarget = Integer[Tensor, "batch ..."]
CoarseTarget = Integer[Tensor, "batch *coarse"]
Merged = Integer[Tensor, "batch classes"]  # each class's representative
Scalar = Float[Tensor, ""]

VoxelLogits = Float[Tensor, "batch classes voxels"]
VoxelMask = Bool[Tensor, "batch classes voxels"]
SampleMask = Bool[Tensor, "batch voxels"]
SampleValues = Float[Tensor, "batch voxels"]
PerSample = Float[Tensor, "batch"]
PerSampleOfLevels = Float[Tensor, "samples"]  # of one level after the other
PerClass = Float[Tensor, "batch classes"]
ClassMask = Bool[Tensor, "batch classes"]
ClassPairs = Bool[Tensor, "batch classes classes"]
ClassTable = Float[Tensor, "batch classes classes"]

ByClass = Float[Tensor, "classes voxels"]  # of one sample
ByGroup = Float[Tensor, "groups voxels"]
ByVoxel = Float[Tensor, "voxels"]
LabelRow = Integer[Tensor, "voxels"]
VoxelRow = Bool[Tensor, "voxels"]
ClassRow = Integer[Tensor, "classes"]
Groups = Integer[Tensor, "groups"]
GroupColumn = Float[Tensor, "groups 1"]
GroupPairs = Bool[Tensor, "*samples groups classes"]
MergedRows = Integer[Tensor, "*samples classes"]
GroupTable = Float[Tensor, "groups classes"]


def check_fit(logits: Tensor, target: Tensor, merged: Tensor) -> None:
    """Refuse tensors whose types, shapes or devices do not fit; no value is read.

    Raises:
        TrainingError: `logits` are not floating [batch, classes, *space], `target` not integers
            [batch, *space], or `merged` not integers [batch, classes].
    """
    if logits.ndim < 3 or not logits.is_floating_point() or not logits.numel():
        msg = (
            "expected floating logits [batch, classes, *space], not empty, "
            f"got {logits.dtype} {tuple(logits.shape)}"
        )
        raise TrainingError(msg)
    batch, classes, *space = logits.shape
    for name, tensor, shape in (
        ("target", target, (batch, *space)),
        ("merged", merged, (batch, classes)),
    ):
        if not (_is_integer(tensor) and tensor.shape == shape and tensor.device == logits.device):
            msg = (
                f"{name} does not fit logits {tuple(logits.shape)}: "
                f"expected integers {shape} on {logits.device}, "
                f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            )
            raise TrainingError(msg)


def _is_integer(tensor: Tensor) -> bool:
    """Return whether a tensor holds integers; booleans are none."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
