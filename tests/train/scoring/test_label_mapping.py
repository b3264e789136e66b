"""What the values of other programs' label maps mean."""

import numpy as np
import pytest

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import TrainingError
from train.scoring.label_mapping import identity_mapping

SPACE = load_label_space("abdomen5")


def volume(*values, dtype=np.uint8):
    return np.array([[values]], dtype=dtype)


def test_the_label_spaces_own_values_are_class_ids():
    own = identity_mapping(len(SPACE))
    assert own.known == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(own.to_classes(volume(0, 5, 3)), volume(0, 5, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_labels_of_any_type_that_holds_whole_numbers(dtype):
    found = identity_mapping(len(SPACE)).to_classes(volume(0, 1, 5, dtype=dtype))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, volume(0, 1, 5))


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ((0, 6, 9), np.uint8, r"values \[6, 9\], expected \[0, 1, 2, 3, 4, 5\].*--labels"),
        ((0, 1.5), np.float32, "the value 1.5"),
        ((0, -1), np.int16, "values from -1 to 0"),
        ((0, 70000), np.int32, "values from 0 to 70000"),
        ((0, np.inf), np.float32, "values from 0.0 to inf"),
    ],
)
def test_values_that_mean_nothing_are_refused(values, dtype, message):
    with pytest.raises(TrainingError, match=message):
        identity_mapping(len(SPACE)).to_classes(volume(*values, dtype=dtype))
