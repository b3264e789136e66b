"""Voxels that nobody looked at, on another grid: none grows, none is taken for known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.resampling.resampling import resample_label
from manifests.volumes.volume import Volume

IGNORED = 255
OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def label_of(voxels, spacing_mm=(1.0, 1.0, 1.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    z, y, x = voxels.shape
    return Volume(voxels.astype(np.uint8), Grid((x, y, z), spacing_mm, (0.0, 0.0, 0.0), direction))


def centres_mm(grid):
    z, y, x = grid.size_xyz[::-1]
    return grid.position_mm(np.indices((z, y, x)).transpose(1, 2, 3, 0)[..., ::-1])


def resampled(label, spacing_mm):
    return resample_label(label, harmonised_grid(label.grid, spacing_mm), ignored=IGNORED)


def around(label, grid):
    """By each voxel of a grid: whether all, and whether any of the source in it is ignored."""
    hidden = label.voxels == IGNORED
    half = np.array(grid.spacing_mm) / 2
    centre = label.grid.index_xyz(centres_mm(grid))
    step = half / label.grid.spacing_mm
    size = np.array(label.grid.size_xyz)
    low = np.clip(np.floor(centre - step + 0.5 + 1e-6), 0, size - 1).astype(int)
    high = np.clip(np.ceil(centre + step - 0.5 - 1e-6), 0, size - 1).astype(int)
    whole, some = np.zeros((2, *centre.shape[:3]), bool)
    for place in np.ndindex(*centre.shape[:3]):
        (x0, y0, z0), (x1, y1, z1) = low[place], high[place]
        part = hidden[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1]
        whole[place], some[place] = part.all(), part.any()
    return whole, some


@st.composite
def labels(draw):
    shape = draw(st.tuples(*[st.integers(2, 7)] * 3))
    seed, slabs = draw(st.integers(0, 999)), draw(st.booleans())
    generator = np.random.default_rng(seed)
    voxels = generator.integers(0, 4, shape)
    where = generator.random(shape[:1] if slabs else shape) < 0.5
    voxels[where] = IGNORED
    return label_of(voxels, draw(st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.9, 5.0)])))


@given(labels(), st.sampled_from([(1.5, 1.5, 3.0), (0.5, 0.5, 0.5), (1.0, 1.3, 2.2)]))
@settings(max_examples=80, deadline=None)
def test_what_lies_in_ignored_voxels_is_ignored_and_nothing_else_becomes_so(label, spacing_mm):
    found = resampled(label, spacing_mm)
    ignored = found.voxels == IGNORED
    whole, some = around(label, found.grid)
    inside = label.grid.covers(found.grid)
    assert ignored[whole & inside].all()
    assert not ignored[~some].any()


@given(labels())
@settings(max_examples=30, deadline=None)
def test_on_its_own_grid_nothing_moves(label):
    same = resample_label(label, label.grid, ignored=IGNORED)
    np.testing.assert_array_equal(same.voxels == IGNORED, label.voxels == IGNORED)


def test_a_voxel_is_ignored_where_its_centre_is():
    # 5 mm slices, the third one drawn: centres of 3 mm slices at 1, 4, 7, 10, 13, ... from the edge
    voxels = np.full((5, 4, 4), IGNORED)
    voxels[2] = 1
    found = resampled(label_of(voxels, (1.0, 1.0, 5.0)), (1.0, 1.0, 3.0))
    assert found.voxels.shape[0] == 9  # 27 mm around 25 mm: centres at 0.5, 3.5, 6.5, 9.5, 12.5
    kept = np.flatnonzero((found.voxels != IGNORED).all(axis=(1, 2)))
    centres = 0.5 + 3 * np.arange(9)
    np.testing.assert_array_equal(kept, np.flatnonzero((centres > 10) & (centres < 15)))
    assert (found.voxels[kept] == 1).all()


def test_a_centre_on_the_border_is_ignored():
    voxels = np.zeros((4, 2, 2))
    voxels[2:] = IGNORED
    found = resampled(label_of(voxels), (1.0, 1.0, 4.0))  # its one centre lies between 1 and 2
    assert (found.voxels == IGNORED).all()


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), OBLIQUE])
def test_volumes_are_kept_in_the_mean_over_places_of_the_border(direction):
    z, y, x = np.indices((42, 42, 42)) - 20.5  # 28 new voxels by 14
    ball = ((z**2 + y**2 + x**2) < 15**2).astype(int)
    before, after = np.zeros((2, 2))
    for border in (3, 4, 5):  # of a part above it that nobody looked at; new slices are 3 mm
        voxels = np.where(z > border, IGNORED, ball)
        label = label_of(voxels, direction=direction)
        found = resampled(label, (1.5, 1.5, 3.0))
        ml = found.grid.voxel_ml / label.grid.voxel_ml
        before += [np.count_nonzero(voxels == value) for value in (1, IGNORED)]
        after += [np.count_nonzero(found.voxels == value) * ml for value in (1, IGNORED)]
    assert after[0] == pytest.approx(before[0], rel=0.01)
    if direction != OBLIQUE:  # whose box exceeds the source
        assert after[1] == pytest.approx(before[1], rel=0.01)


def test_a_structure_is_as_large_beside_ignored_slices_as_without_them():
    # a rod along z, of which every other pair of slices was drawn: the same section everywhere
    _, y, x = np.indices((24, 30, 30)) - 14.5
    rod = (y**2 + x**2 < 8**2).astype(int)
    hidden = rod.copy()
    hidden[np.arange(24) % 4 < 2] = IGNORED
    spacing_mm = (1.5, 1.5, 1.0)
    whole, part = (resampled(label_of(v), spacing_mm) for v in (rod, hidden))
    seen = part.voxels != IGNORED
    section = np.count_nonzero(whole.voxels == 1, axis=(1, 2)).mean()
    of_part = np.count_nonzero(part.voxels == 1, axis=(1, 2))[seen.all(axis=(1, 2))]
    assert of_part.mean() == pytest.approx(section, rel=0.02)
    np.testing.assert_array_equal(seen.all(axis=(1, 2)), np.arange(24) % 4 >= 2)


def test_without_the_value_every_label_is_what_it_was():
    generator = np.random.default_rng(0)
    label = label_of(generator.integers(0, 4, (6, 7, 8)))
    grid = harmonised_grid(label.grid, (1.5, 1.5, 3.0))
    np.testing.assert_array_equal(
        resample_label(label, grid, ignored=IGNORED).voxels, resample_label(label, grid).voxels
    )
