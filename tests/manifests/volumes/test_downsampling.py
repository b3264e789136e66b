"""Means of bins: those of ITK, also where sums are greater than a voxel's type can hold."""

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.volumes.downsampling import bin_means, bin_sums, middle_means
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

FACTORS = [(1, 1, 1), (4, 4, 1), (2, 2, 2), (3, 3, 2), (1, 2, 5)]


@pytest.fixture(params=["soft", "extreme", "floats"])
def volume(request):
    rng = np.random.default_rng(0)
    low, high = (-1024, 3071) if request.param == "soft" else (-(2**15), 2**15)
    voxels = rng.integers(low, high, (7, 13, 17)).astype(np.int16)
    if request.param == "floats":
        voxels = voxels.astype(np.float32)
    return Volume(voxels, Grid((17, 13, 7), (0.8, 0.7, 3.0), (10.0, -20.0, 5.0)))


@pytest.mark.parametrize("factors", FACTORS)
def test_means_of_bins_are_those_of_itk(volume, factors):
    found = bin_means(volume, factors)
    expected = Volume.of(sitk.BinShrink(volume.grid.image(volume.voxels), factors))
    np.testing.assert_allclose(found.voxels, expected.voxels, rtol=1e-5, atol=1e-3)
    assert found.grid == expected.grid


def test_sums_of_integers_are_exact(volume):
    found = list(bin_sums(volume.voxels, (2, 2, 2)))
    expected = volume.voxels[:6, :12, :16].astype(np.float64).reshape(3, 2, 6, 2, 8, 2)
    np.testing.assert_array_equal(found, expected.sum(axis=(1, 3, 5)))


@pytest.mark.parametrize("factors", [(1, 1, 1), (4, 4, 1), (2, 2, 2), (4, 1, 6)])
def test_the_middle_of_bins_has_its_mean_and_its_place(volume, factors):
    found = middle_means(volume, factors)
    x, y, z = ([0] if n == 1 else [n // 2 - 1, n // 2] for n in factors)
    for k, j, i in np.ndindex(found.voxels.shape):
        at = [
            np.add(part, n * f)
            for part, n, f in zip((z, y, x), (k, j, i), factors[::-1], strict=True)
        ]
        expected = volume.voxels[np.ix_(*at)].mean(dtype=np.float64)
        assert found.voxels[k, j, i] == pytest.approx(expected, rel=1e-5, abs=0.01)
    assert found.grid == bin_means(volume, factors).grid
