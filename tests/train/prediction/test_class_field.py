"""The class field: classes where all agree, probabilities where they do not."""

import numpy as np
import pytest
import torch

from train.prediction.class_field import LEAST, MIXED, class_field, first_greatest

SHAPE = (9, 11, 13)
EVERYTHING = (slice(0, 9), slice(0, 11), slice(0, 13))


def blurred(classes, *, seed=0):
    """Probabilities of some classes, of which each has places where it is the greatest."""
    logits = torch.randn(1, classes, 4, 4, 4, generator=torch.manual_seed(seed)) * 4
    smooth = torch.nn.functional.interpolate(logits, SHAPE, mode="trilinear", align_corners=True)
    return smooth[0].softmax(0)


def slabs(probs, depth):
    """Some slices at a time, in memory that the next ones overwrite, as the sliding window's."""
    room = torch.empty_like(probs[:, :depth])
    for part in probs.split(depth, 1):
        held = room[:, : part.shape[1]].copy_(part)
        yield dict(enumerate(held))


def agreed(classes):
    """The class of each cell of eight voxels, looked at one by one."""
    cells = np.empty(classes.shape, np.uint8)
    for z, y, x in np.ndindex(classes.shape):
        corner = classes[z : z + 2, y : y + 2, x : x + 2]
        cells[z, y, x] = corner.flat[0] if (corner == corner.flat[0]).all() else MIXED
    return cells


def test_of_equally_probable_classes_it_is_the_first():
    probs = torch.tensor([[0.2, 0.5, 0.1], [0.4, 0.5, 0.1], [0.4, 0.0, 0.8]])[:, None]
    found = first_greatest({2: probs[2], 0: probs[0], 1: probs[1]})
    assert found.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
def test_cells_and_probabilities_are_those_of_the_whole(depth):
    probs = blurred(5)
    classes = probs.argmax(0).numpy()
    field = class_field(slabs(probs, depth), SHAPE)
    np.testing.assert_array_equal(field.cells, agreed(classes))
    assert set(np.unique(classes)) == set(range(5))
    contest = field.contest(EVERYTHING)
    for z, y, x in np.argwhere(field.cells == MIXED):
        corner = (slice(z, z + 2), slice(y, y + 2), slice(x, x + 2))
        told = contest.probs[contest.row_of[corner]]
        own = probs[contest.classes.tolist()][:, *corner].movedim(0, -1)
        torch.testing.assert_close(told, own.half().float(), rtol=0, atol=0)


def test_a_box_holds_what_the_whole_holds_there():
    field = class_field(slabs(blurred(4, seed=1), 3), SHAPE)
    whole = field.contest(EVERYTHING)
    box = (slice(2, 7), slice(3, 8), slice(5, 13))
    part = field.contest(box)
    cells = (slice(2, 6), slice(3, 7), slice(5, 12))  # whose corners are all in the box
    for z, y, x in np.argwhere(field.cells[cells] == MIXED):
        row = whole.row_of[box][z, y, x]
        told = dict(zip(part.classes.tolist(), part.probs[part.row_of[z, y, x]], strict=True))
        for c, prob in zip(whole.classes.tolist(), whole.probs[row], strict=True):
            assert told.get(c, 0.0) == prob


def test_only_voxels_near_another_class_are_kept_and_only_classes_that_are_there():
    shape = (20, 60, 60)
    probs = torch.zeros(200, *shape)
    probs[150, 5:15, 20:40, 20:40] = 1
    probs[199] = LEAST / 2
    probs[0] = 1 - probs[1:].sum(0)
    field = class_field([dict(enumerate(probs))], shape)
    assert sum(len(plane.voxels) for plane in field.planes) == 22**2 * 12 - 18**2 * 8
    assert {tuple(plane.classes) for plane in field.planes} == {(), (0,), (0, 150)}
