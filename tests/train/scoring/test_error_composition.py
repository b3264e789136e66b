"""Composition of errors: each wrong voxel is of one kind."""

import numpy as np

from tests.benchmarks.error_composition import Errors, add, as_row, count_errors


def test_each_wrong_voxel_is_of_one_kind() -> None:
    truth = np.array([0, 0, 1, 1, 1, 2, 2])
    found = np.array([0, 1, 1, 2, 0, 2, 0])
    errors = count_errors(truth, found)
    assert errors == Errors(confused=1, missed=2, invented=1, right=2)
    assert add([errors, errors]) == Errors(2, 4, 2, 4)
    # Dice of all organs together: 2 * 2 / (5 labelled + 4 found)
    row = "| union | phantom | 25.0% | 50.0% | 25.0% | 4 | 0.444 |"
    assert as_row("union", "phantom", errors) == row
