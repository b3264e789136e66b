"""Extrema and smoothing against scipy, whatever the order in memory."""

import numpy as np
import pytest
from scipy import ndimage

from manifests.fingerprints.extrema import binomial_sums, local_extrema, values_at
from manifests.fingerprints.keypoints import BINOMIAL, CLEARLY, _smoothed, _spread


@pytest.fixture(scope="module")
def whole():
    return np.random.default_rng(0).integers(-1000, 3000, (17, 14, 23)).astype(np.float32)


def test_sums_are_those_of_scipy(whole):
    expected = whole.astype(np.float64)
    for axis in range(3):
        expected = ndimage.correlate1d(expected, BINOMIAL, axis=axis)
    found = binomial_sums(whole, whole.shape, times=4)
    np.testing.assert_array_equal(found, expected[2:-2, 2:-2, 2:-2])


def test_patches_are_smoothed_to_the_last_bit_as_arrays_are():
    patches = np.random.default_rng(1).integers(-1000, 3000, (14, 14, 14, 3)).astype(np.float32)
    found = _smoothed(patches)
    for number in range(3):
        alone = patches[..., number]
        np.testing.assert_array_equal(
            found[..., number], binomial_sums(alone, alone.shape, times=4)
        )


def test_extrema_are_those_of_a_filter(whole):
    smooth = binomial_sums(np.rint(whole / 400), whole.shape, times=2)  # with ties
    highest, lowest = ndimage.maximum_filter(smooth, 3), ndimage.minimum_filter(smooth, 3)
    far = ndimage.correlate(smooth, _six_at(2), mode="nearest") / 6
    inner = np.zeros(smooth.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    expected = inner & (np.abs(smooth - far) >= 40) & ((smooth == highest) | (smooth == lowest))
    place, contrast = local_extrema(smooth, 2, 40.0)
    assert place.tolist() == np.argwhere(expected).tolist()
    np.testing.assert_allclose(contrast, np.abs(smooth - far)[expected], rtol=1e-5)
    assert 5 < len(place) < smooth.size / 20
    np.testing.assert_array_equal(
        values_at(smooth, place, np.array([[0, 0, 0], [1, -2, 0]])),
        [(smooth[z, y, x], smooth[z + 1, y - 2, x]) for z, y, x in place],
    )


def _six_at(distance):
    kernel = np.zeros((2 * distance + 1,) * 3)
    for axis in range(3):
        for end in (0, -1):
            kernel[tuple(end if k == axis else distance for k in range(3))] = 1
    return kernel


def test_the_order_of_keypoints_is_that_of_all_distances():
    rng = np.random.default_rng(2)
    place, contrast = rng.integers(0, 400, (700, 3)), rng.uniform(1, 9, 700).astype(np.float32)
    found = _spread(place, contrast, (400, 400, 400))
    assert 600 < len(found) < 700  # of some cells, only the strongest
    radius = [
        min(
            (
                ((place[n] - place[m]) ** 2).sum()
                for m in found
                if contrast[m] * CLEARLY > contrast[n]
            ),
            default=np.inf,
        )
        for n in found
    ]
    assert radius == sorted(radius, reverse=True)
