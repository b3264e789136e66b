"""Resampling where axes are parallel, held against ITK and SciPy, which do not need them to be."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.resampling.oblique import oblique_sample, oblique_share
from manifests.volumes.resampling.resampling import (
    _boxes,
    _share,
    resample_image,
    resample_label,
    resample_linear,
)
from manifests.volumes.resampling.separable import (
    Axis,
    along_axes,
    parallel_axes,
    weighted_sums,
)
from manifests.volumes.volume import Volume
from tests.oriented import oriented

WAYS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]
WANTED_MM = (1.5, 1.4, 2.3)


def turned(order, signs, size=(31, 24, 18)) -> Grid:
    direction = np.eye(3)[:, list(order)] * signs
    return Grid(size, (0.8, 0.9, 2.1), (-20.3, 11.7, -105.1), tuple(direction.ravel().tolist()))


def noise(grid: Grid, seed=0) -> Volume:
    hu = np.random.default_rng(seed).integers(-1024, 3071, grid.size_xyz[::-1])
    return Volume(hu.astype(np.int16), grid)


def organs(grid: Grid) -> Volume:
    rough = np.random.default_rng(1).normal(size=(4, *grid.size_xyz[::-1]))
    smooth = ndimage.gaussian_filter(rough, (0, 2, 2, 2))
    ids = np.where(smooth.max(axis=0) > 0.1, smooth.argmax(axis=0) + 1, 0)
    return Volume(ids.astype(np.uint8), grid)


@pytest.mark.parametrize(("order", "signs"), WAYS)
def test_interpolation_is_that_of_itk_whichever_way_the_axes_run(order, signs):
    source = turned(order, signs)
    image, grid = noise(source), harmonised_grid(source, WANTED_MM)
    assert parallel_axes(source, grid) is not None
    expected = oblique_sample(image, grid, outside=-5000.0)
    found = resample_linear(image, grid, outside=-5000.0).voxels
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("wanted_mm", [(0.3, 0.4, 0.9), (0.8, 0.9, 2.1), (5.0, 7.0, 9.0)])
@pytest.mark.parametrize("shift_mm", [0.0, 3.3, -7.1])
def test_finer_and_coarser_and_farther_grids(wanted_mm, shift_mm):
    source = turned((0, 1, 2), (1, 1, 1))
    image, there = noise(source), harmonised_grid(source, wanted_mm)
    origin_mm = tuple(mm + shift_mm for mm in there.origin_mm)
    grid = Grid(there.size_xyz, there.spacing_mm, origin_mm)
    expected = oblique_sample(image, grid, outside=-1024.0)
    difference = resample_image(image, grid).voxels - expected
    assert np.abs(difference).max() <= 0.51


@pytest.mark.parametrize(("order", "signs"), WAYS[::7])
def test_shares_are_those_of_itk(order, signs):
    source = turned(order, signs)
    label, grid = organs(source), harmonised_grid(source, WANTED_MM)
    axes = parallel_axes(source, grid)
    weights = [axis.mean_weights() * axis.inside[:, None] for axis in axes[::-1]]
    labels = along_axes(label.voxels, axes)
    for value, box in enumerate(ndimage.find_objects(label.voxels), start=1):
        expected, found = np.zeros((2, *grid.size_xyz[::-1]), np.float32)
        where, share = oblique_share(label, value, box, grid)
        expected[where] = share
        where, share = _share(labels, value, _boxes(labels)[value], weights)
        found[where] = share
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_cubic_spline_is_that_of_scipy():
    source = Grid((29, 23, 17), (1.0, 1.0, 1.0))
    image, grid = noise(source), Grid((35, 30, 18), (0.7, 0.6, 0.8), (2.0, 3.0, 1.0))
    index = source.index_xyz(
        grid.position_mm(np.indices(grid.size_xyz[::-1]).transpose(1, 2, 3, 0)[..., ::-1])
    )
    hu = image.voxels.astype(np.float64)
    expected = ndimage.map_coordinates(hu, index[..., ::-1].transpose(3, 0, 1, 2), order=3)
    expected = expected.clip(hu.min(), hu.max())
    result = resample_image(image, grid, interpolation="cubic").voxels
    assert np.abs(result - expected).max() <= 0.6


def test_a_cubic_spline_follows_a_cubic_and_keeps_the_range():
    source = Grid((80, 3, 3), (1.0, 1.0, 1.0))
    x = np.arange(80.0)
    hu = np.rint((x - 40) ** 3 / 40)
    image = Volume(np.broadcast_to(hu, (3, 3, 80)).astype(np.float32), source)
    grid = Grid((100, 3, 3), (0.5, 1.0, 1.0), (15.0, 0.0, 0.0))
    expected = (15 + 0.5 * np.arange(100) - 40) ** 3 / 40
    result = resample_image(image, grid, interpolation="cubic").voxels[1, 1]
    np.testing.assert_allclose(result, expected, atol=1.1)
    edge = Volume(np.broadcast_to(np.where(x < 40, -1000.0, 500.0), (3, 3, 80)), source)
    result = resample_image(edge, grid, interpolation="cubic").voxels
    assert (result.min(), result.max()) == (-1000, 500)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_on_its_own_grid_nothing_changes(interpolation):
    for order, signs in WAYS[::5]:
        image = noise(turned(order, signs))
        result = resample_image(image, image.grid, interpolation=interpolation)
        assert np.array_equal(result.voxels, image.voxels)


def test_a_constant_stays_the_same_to_the_edge():
    source = turned((1, 0, 2), (1, -1, 1))
    image = Volume(np.full(source.size_xyz[::-1], 3071, np.int16), source)
    for interpolation in ("linear", "cubic"):
        inside = resample_image(image, image.grid, interpolation=interpolation).voxels
        assert set(np.unique(inside)) == {3071}


def test_oblique_grids_have_cubic_splines_too():
    matrix = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.5).GetMatrix()
    source = Grid((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), matrix)
    position = source.position_mm(np.indices((30, 30, 30)).transpose(1, 2, 3, 0)[..., ::-1])
    image = Volume(10 * position[..., 0], source)
    grid = harmonised_grid(source, (1.5, 1.5, 1.5))
    assert parallel_axes(source, grid) is None
    result = resample_image(image, grid, interpolation="cubic").voxels
    there = result > -1024
    x_mm = grid.origin_mm[0] + 1.5 * np.arange(grid.size_xyz[0])
    middle = np.s_[12:18, 12:18, 12:18]
    assert there[middle].all()
    np.testing.assert_allclose(
        result[middle], 10 * np.broadcast_to(x_mm, result.shape)[middle], atol=3
    )


def test_nearly_parallel_is_parallel_up_to_a_thousandth_of_a_voxel():
    grid = Grid((500, 500, 500), (1.0, 1.0, 1.0))
    for angle, parallel in ((1e-6, True), (1e-5, False)):
        matrix = sitk.Euler3DTransform((0, 0, 0), 0.0, 0.0, angle).GetMatrix()
        source = Grid((500, 500, 500), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), matrix)
        assert (parallel_axes(source, grid) is not None) == parallel


def test_one_voxel_is_enough():
    image = Volume(np.full((1, 1, 1), 70, np.int16), Grid((1, 1, 1), (2.0, 2.0, 2.0)))
    grid = harmonised_grid(image.grid, (0.5, 0.5, 0.5))
    for interpolation in ("linear", "cubic"):
        assert set(np.unique(resample_image(image, grid, interpolation=interpolation).voxels)) == {
            70
        }


def test_labels_of_turned_volumes_are_the_same():
    source = turned((0, 1, 2), (1, 1, 1))
    label, grid = organs(source), harmonised_grid(source, WANTED_MM)
    upright = resample_label(label, grid).voxels
    assert set(np.unique(upright)) == {0, 1, 2, 3, 4}
    for code in ("RAI", "PLS", "SAR"):
        assert np.array_equal(resample_label(oriented(label, code), grid).voxels, upright)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("step", [0.4, 2.3])
def test_layers_that_are_held_for_a_while_give_what_all_of_them_give(interpolation, step):
    source = np.random.default_rng(0).normal(size=(130, 7, 5)).astype(np.float32)
    axis = Axis(along=2, flipped=False, first=-9.7, step=step, count=int(150 / step), size=130)
    z = axis.weights(interpolation) * axis.inside[:, None]  # some rows have no weights
    y, x = (np.random.default_rng(1).random((n, m), np.float32) for n, m in ((4, 7), (6, 5)))
    filled = np.full((len(z), 4, 6), np.nan, np.float32)
    weighted_sums(source, (z, y, x), filled.__setitem__)
    expected = np.einsum("Zz,Yy,Xx,zyx->ZYX", *map(np.float64, (z, y, x, source)))
    np.testing.assert_allclose(filled, expected, atol=1e-4)


def test_what_lies_wholly_beyond_the_source_is_zero():
    nothing = (np.zeros((40, 3), np.float32), *[np.ones((2, 3), np.float32)] * 2)
    filled = np.full((40, 2, 2), np.nan, np.float32)
    weighted_sums(np.ones((3, 3, 3), np.float32), nothing, filled.__setitem__)
    assert not filled.any()
