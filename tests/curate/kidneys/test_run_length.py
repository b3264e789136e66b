"""Run-length encoded masks against dense arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from curate.kidneys.midline import LEFT, RIGHT
from curate.kidneys.renal_fusion import split_at_plane
from curate.kidneys.run_length import RunLengthMask
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

MASKS = st.builds(
    lambda seed, size, filled: np.random.default_rng(seed).random(size) < filled,
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.floats(0.01, 0.9),
)


def encoded(mask, **place):
    grid = Grid(mask.shape[::-1], **{"spacing_mm": (1.0, 1.0, 1.0), **place})
    return RunLengthMask.of(Volume(mask.astype(np.uint8), grid))


def painted(found, values, mask):
    return found.paint(values, np.zeros(3, int), np.array(mask.shape[::-1]))


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_components_are_those_of_scipy(mask):
    found = encoded(mask)
    numbers = painted(found, (found.components() + 1).astype(np.uint8), mask)
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert np.array_equal(numbers > 0, mask)
    pairs = set(zip(numbers[mask].tolist(), expected[mask].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == count


@settings(max_examples=100, deadline=None)
@given(MASKS, st.sampled_from([(1, 0), (-1, 0), (0, 1), (0.6, 0.8), (-0.8, 0.6)]), st.floats(-9, 9))
def test_a_cut_parts_the_voxels_at_the_plane(mask, axis, cut_mm):
    (a, b), grid = axis, Grid(mask.shape[::-1], (0.7, 1.3, 2.0))
    place = {"spacing_mm": grid.spacing_mm, "direction_lps": (a, -b, 0, b, a, 0, 0, 0, 1)}
    found = encoded(mask, **place)
    parts, was, side = split_at_plane(found, cut_mm)
    x_mm = found.grid.position_mm(np.argwhere(np.ones(mask.shape))[:, ::-1])[:, 0]
    expected = np.where(x_mm.reshape(mask.shape) > cut_mm, LEFT, RIGHT) * mask
    assert np.array_equal(painted(parts, side, mask), expected)
    assert np.array_equal(np.bincount(was, parts.length, len(found)), found.length)


def test_a_plane_through_voxels_whose_rows_run_along_it():
    mask = np.ones((2, 2, 3), bool)
    found = encoded(mask, direction_lps=(0, 1, 0, 1, 0, 0, 0, 0, 1))
    _, _, side = split_at_plane(found, 0.0)
    assert side.tolist() == [RIGHT, LEFT, RIGHT, LEFT]


@settings(max_examples=50, deadline=None)
@given(MASKS.filter(np.any))
def test_positions_boxes_and_volumes(mask):
    found = encoded(mask, spacing_mm=(0.5, 2.0, 3.0), origin_mm=(7.0, 8.0, 9.0))
    index = np.argwhere(mask)[:, ::-1]
    position_mm, _ = found.voxels()
    assert np.allclose(position_mm, index * [0.5, 2.0, 3.0] + [7.0, 8.0, 9.0])
    assert np.allclose(np.concatenate(list(found.x_mm())), position_mm[:, 0])
    assert np.array_equal(found.box_xyz, [index.min(axis=0), index.max(axis=0) + 1])
    assert found.volume_ml == pytest.approx(mask.sum() * 0.003)
    assert found.span_mm == (position_mm[:, 0].min(), position_mm[:, 0].max())


def test_chunks_hold_every_run_once(monkeypatch):
    monkeypatch.setattr("curate.kidneys.run_length.CHUNK_VOXELS", 7)
    mask = np.random.default_rng(0).random((6, 7, 8)) < 0.6
    found = encoded(mask)
    assert len(list(found.chunks())) > 10
    assert np.array_equal(painted(found, np.ones(len(found), np.uint8), mask), mask)
