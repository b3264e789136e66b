"""Patch: fitted to the cases and to memory, along the axis that is longest in mm."""

import math

import pytest

from manifests.ground.errors import TrainingError
from train.networks.network import NetworkSettings, plan_levels
from train.planning.patch import fit_patch, with_fitted_patch
from train.settings import PRESETS, resolve


def form(spacing_mm=(2.0, 2.0, 2.0), filters=(8, 16, 32)):
    return NetworkSettings((16, 16, 16), spacing_mm, filters)


def at_most(voxels):
    return lambda size: math.prod(size) <= voxels


def fitted(sizes_xyz, voxels, **options):
    return fit_patch(form(**options), sizes_xyz=sizes_xyz, fits=at_most(voxels))


def test_a_small_case_is_taken_whole():
    assert fitted([(64, 48, 32)], 10**9) == (32, 48, 64)


def test_the_median_case_decides():
    assert fitted([(16, 16, 16), (64, 64, 64), (200, 200, 200)], 10**9) == (64, 64, 64)


def test_the_longest_axis_gives_way_until_the_patch_fits():
    assert fitted([(128, 64, 32)], 32 * 64 * 64) == (32, 64, 64)


def test_length_counts_in_mm():
    # from 192 x 128 x 128 mm: slices go first, then all axes in turn, to 108 x 120 x 120 mm
    assert fitted([(64, 64, 32)], 16 * 64 * 64, spacing_mm=(2.0, 2.0, 6.0)) == (18, 60, 60)


@pytest.mark.parametrize("voxels", [10**5, 3 * 10**5, 10**6, 10**7])
def test_nothing_of_a_fitted_patch_is_padded(voxels):
    size = fitted([(211, 187, 93)], voxels, filters=(8, 16, 32, 64, 64))
    levels = plan_levels(NetworkSettings(size, (2.0, 2.0, 2.0), (8, 16, 32, 64, 64)))
    strides = [math.prod(level.stride_zyx[axis] for level in levels) for axis in range(3)]
    assert math.prod(size) <= voxels
    assert [n % s for n, s in zip(size, strides, strict=True)] == [0, 0, 0]


def test_too_little_memory_is_told():
    with pytest.raises(TrainingError, match="fits into memory_gib; raise it"):
        fitted([(64, 64, 64)], 100)


def test_more_memory_gives_a_larger_patch(manifest):
    cases = [case.size for case in manifest.cases()]
    sizes = []
    for gib in (0.005, 0.01):
        settings = resolve("tiny", ["fit_patch=true", f"memory_gib={gib}"])
        found = with_fitted_patch(settings, cases, (4.0, 4.0, 4.0), 3)
        sizes.append(math.prod(found.patch_size_zyx))
    assert sizes[0] < sizes[1] <= 20 * 24 * 28


def test_a_patch_that_is_given_stays():
    settings = PRESETS["tiny"]
    assert with_fitted_patch(settings, [(9, 9, 9)], (4.0, 4.0, 4.0), 3) is settings
