"""Patch: the size that fits the cases' geometry and a device's memory."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from manifests.ground.errors import TrainingError
from train.boxes import Triple, triple
from train.networks.network import Level, NetworkSettings, plan_levels, total_strides
from train.planning.footprint import footprint
from train.settings import TrainSettings

_GIB = 2**30
_LEAST = 16  # voxels along an axis: three levels need them


def fit_patch(
    network: NetworkSettings, *, sizes_xyz: ArrayLike, fits: Callable[[Triple], bool]
) -> Triple:
    """Return the largest patch that fits into memory, as near to a cube as the cases allow.

    It starts as the cases' median size and shrinks along the axis that is longest in mm. It is a
    multiple of the network's strides along each axis, so that nothing is padded.

    Args:
        network: Its own patch size is ignored.
        sizes_xyz: Voxels of each case along x, y, z.
        fits: Returns whether a patch [z, y, x] can be trained on.

    Raises:
        TrainingError: Not even the smallest patch fits.

    Source: nnU-Net's planning, which also starts with the median size.
    """
    median = np.median(np.asarray(sizes_xyz), axis=0)[::-1].tolist()
    size = triple(max(_LEAST, round(n)) for n in median)
    while True:
        multiple = total_strides(plan_levels(replace(network, patch_size_zyx=size)))
        whole = triple(max(m, n // m * m) for n, m in zip(size, multiple, strict=True))
        if fits(whole):
            return whole
        lengths_mm = np.multiply(whole, network.spacing_mm[::-1])
        lengths_mm[np.less_equal(whole, _LEAST)] = 0
        longest = int(np.argmax(lengths_mm))
        if not lengths_mm[longest]:
            msg = (
                f"not even a patch of {whole} voxels (z, y, x) fits into memory_gib; raise it, or "
                f"set a lower batch_size or fewer filters"
            )
            raise TrainingError(msg)
        size = triple(
            n - m * (a == longest) for a, (n, m) in enumerate(zip(whole, multiple, strict=True))
        )


def with_fitted_patch(
    settings: TrainSettings,
    sizes_xyz: ArrayLike,
    spacing_mm: tuple[float, float, float],
    num_classes: int,
) -> TrainSettings:
    """Return the settings with the patch fitted to the cases' sizes, if they ask for it."""
    if not settings.fit_patch:
        return settings
    network = NetworkSettings.of(settings, spacing_mm)
    traced: dict[tuple[Level, ...], tuple[int, float]] = {}  # weights, activations of a voxel

    def fits(patch_size_zyx: Triple) -> bool:
        patched = replace(network, patch_size_zyx=patch_size_zyx)
        levels, voxels = plan_levels(patched), math.prod(patch_size_zyx)
        if levels not in traced:
            needs = footprint(
                patched,
                num_classes,
                batch_size=settings.patches_at_once,
                optimiser=settings.optimiser,
                half=settings.precision == "bfloat16",
            )
            traced[levels] = needs.weight_bytes, needs.activation_bytes / voxels
        weights, per_voxel = traced[levels]
        return weights + per_voxel * voxels <= settings.memory_gib * _GIB

    fitted = fit_patch(network, sizes_xyz=sizes_xyz, fits=fits)
    return settings.model_copy(update={"patch_size_zyx": fitted})
