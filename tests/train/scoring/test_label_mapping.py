"""What the values of other programs' label maps mean."""

import json

import numpy as np
import pytest

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import TrainingError
from train.scoring.label_mapping import LabelMapping, identity_mapping, read_label_mapping

SPACE = load_label_space("abdomen5")
LIVER, SPLEEN, RIGHT = 1, 2, 5


def values_of(tmp_path, content, name="dataset.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_label_mapping(path, SPACE)


def volume(*values, dtype=np.uint8):
    return np.array([[values]], dtype=dtype)


def test_the_label_spaces_own_values_are_class_ids():
    own = identity_mapping(len(SPACE))
    assert own.known == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(own.to_classes(volume(0, 5, 3)), volume(0, 5, 3))


@pytest.mark.parametrize(
    "content",
    [
        {"labels": {"background": 0, "liver": 3, "Right Kidney": 1}},  # nnU-Net
        {"labels": {"0": "background", "3": "liver", "1": "right-kidney"}},  # its first version
        {"liver": 3, "right_kidney": 1},
        {"3": "liver", "1": "kidney_right"},  # TotalSegmentator
    ],
)
def test_names_and_values_in_either_order(tmp_path, content):
    found = values_of(tmp_path, content)
    assert found == LabelMapping({0: 0, 3: LIVER, 1: RIGHT})
    assert found.known == {LIVER, RIGHT}
    np.testing.assert_array_equal(found.to_classes(volume(3, 0, 1)), volume(LIVER, 0, RIGHT))


def test_toml(tmp_path):
    assert values_of(tmp_path, "[labels]\nspleen = 7\n", "labels.toml").class_of[7] == SPLEEN


def test_a_class_may_have_several_values_and_its_structures_names(tmp_path):
    content = {"liver": [1, 4], "spleen": 2, "liver_tumour": 5}
    found = values_of(tmp_path, content).to_classes(volume(1, 2, 4, 5))
    np.testing.assert_array_equal(found, volume(LIVER, SPLEEN, LIVER, LIVER))


def test_organs_that_are_no_class_count_as_background_and_are_told(tmp_path):
    found = values_of(tmp_path, {"liver": 1, "aorta": 2, "stomach": 3})
    assert found.ignored == ("aorta", "stomach")
    np.testing.assert_array_equal(found.to_classes(volume(1, 2, 3)), volume(LIVER, 0, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"aorta": 1}, r"none of \['aorta'\].*liver, spleen"),
        ({"liver": 1, "spleen": 1}, "value 1 means two classes"),
        ({"liver": 0}, "value 0 means two classes"),
        ({"aorta": 1, "spleen": 1}, "value 1 means two classes"),
        ({"liver": 1.5, "x": "y"}, "expected a name and values"),
        ({"liver": -1}, "expected a name and values"),
        ({"liver": {"a": 1}}, "expected a name and values"),
        ({}, "expected names and values"),
        ([1, 2], "cannot be read"),
        ("{", "cannot be read"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "cannot be read"),
        ('{"liver": 1e400}', "expected a name and values"),
        ({"liver": 1.5}, "expected a name and values"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, message):
    with pytest.raises(TrainingError, match=message):
        values_of(tmp_path, content)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read"):
        read_label_mapping(tmp_path / "none.json", SPACE)


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
