"""Boxes: patches at the border of a volume and beyond it."""

import pytest

from train.boxes import Box, PatchGrid, patch_box

SHAPE = (20, 24, 28)


@pytest.mark.parametrize(
    ("centre", "size", "start"),
    [
        ((10, 12, 14), (4, 6, 8), (8, 9, 10)),  # around the centre
        ((0, 0, 0), (8, 8, 8), (0, 0, 0)),  # moved inside
        ((19, 23, 27), (8, 8, 8), (12, 16, 20)),
        ((3, 3, 3), (24, 28, 30), (-2, -2, -1)),  # larger than the volume: in the middle
    ],
)
def test_a_patch_lies_around_its_centre_and_within_the_volume_if_it_can(centre, size, start):
    assert patch_box(centre, size, SHAPE) == Box(start, size)


def test_the_part_within_the_volume_and_where_it_is_seen_from_the_patch():
    patch = Box((-2, -2, 5), (24, 10, 4))
    inside = patch.within(SHAPE)
    assert inside == Box((0, 0, 5), (20, 8, 4))
    assert inside.seen_from(patch) == Box((2, 2, 0), (20, 8, 4))
    assert inside.slices == (slice(0, 20), slice(0, 8), slice(5, 9))


def test_the_paper_patch_has_few_slices_and_the_default_one_has_not():
    assert PatchGrid((48, 190, 190), (3.0, 1.5, 1.5)).is_flat
    assert not PatchGrid((64, 160, 160), (3.0, 1.5, 1.5)).is_flat
