"""Values of other programs' label maps, compared as the classes that a file of labels says."""

import json

import numpy as np
import pytest

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import TrainingError
from train.scoring.label_mapping import LabelMapping
from train.scoring.labels_file import read_label_mapping

SPACE = load_label_space("abdomen5")
LIVER, SPLEEN, PANCREAS, LEFT, RIGHT = 1, 2, 3, 4, 5
WITH_TUMOUR = load_label_space("pancreas_tumour")  # pancreas, and its tumour as a class of its own


def values_of(tmp_path, content, name="dataset.json", space=SPACE):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_label_mapping(path, space)


def volume(*values, dtype=np.uint8):
    return np.array([[values]], dtype=dtype)


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
    assert (found.ignored, found.unknown) == (("aorta", "stomach"), ())
    np.testing.assert_array_equal(found.to_classes(volume(1, 2, 3)), volume(LIVER, 0, 0))


def test_names_that_have_nothing_to_do_with_a_class_are_told_too(tmp_path):
    assert values_of(tmp_path, {"liver": 1, "heart": 2}).unknown == ("heart",)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({"liver": 1, "cancer": 2, "spleen": 3}, {1: LIVER, 2: LIVER, 3: SPLEEN}),
        ({"liver": 1, "liver_tumor": 2}, {1: LIVER, 2: LIVER}),
        ({"Hepar": 1, "hepatic tumor": 2, "lien": 3}, {1: LIVER, 2: LIVER, 3: SPLEEN}),
        ({"1": "pancreas", "2": "cancer"}, {1: PANCREAS, 2: PANCREAS}),
        ({"lk": 1, "rk": 2, "L kidney lesion": 3}, {1: LEFT, 2: RIGHT, 3: LEFT}),
        ({"kidney_cyst_left": 4, "liver": 1}, {4: LEFT, 1: LIVER}),
    ],
)
def test_names_mean_what_a_new_recipe_takes_them_for(tmp_path, labels, classes):
    assert values_of(tmp_path, labels) == LabelMapping({0: 0, **classes})


@pytest.mark.parametrize("space", [SPACE, WITH_TUMOUR])
@pytest.mark.parametrize("order", [{}, {"regions_class_order": [1, 2]}])
def test_of_regions_the_innermost_tells_what_a_value_means(tmp_path, space, order):
    labels = {"background": 0, "pancreas": [1, 2], "cancer": 2}
    found = values_of(tmp_path, {"labels": labels, **order}, space=space)
    ids = space.class_of
    assert found == LabelMapping({0: 0, 1: ids["pancreas"], 2: ids["pancreas_tumour"]})


def test_a_region_may_hold_what_is_no_class_and_what_is_not_understood(tmp_path):
    labels = {"abdomen": [1, 2, 3], "liver": [1, 2], "bubbles": 2, "ignore": 4}
    found = values_of(tmp_path, labels)
    assert found == LabelMapping({0: 0, 1: LIVER, 2: LIVER, 3: 0, 4: 0}, unknown=("abdomen",))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"liver": 1, "pancreas": 2, "tumor": 3}, r"'tumor' \(3\)"),
        ({"liver": 1, "hepatic vessel": 8}, r"'hepatic vessel' \(8\)"),
        ({"kidney": 1, "left kidney": 2, "liver": 3}, r"'kidney' \(1\)"),
        ({"liver": 1, "cancer of colon": 2, "lesion 1": [3, 4]}, r"'lesion 1' \(3, 4\)"),
    ],
)
def test_a_name_that_may_mean_a_class_is_a_question(tmp_path, labels, said):
    with pytest.raises(TrainingError, match=f"not known what {said} means.*call it background"):
        values_of(tmp_path, labels)


def test_the_answer_may_be_background(tmp_path):
    found = values_of(tmp_path, {"liver": 1, "background": [0, 8]})
    assert found == LabelMapping({0: 0, 1: LIVER, 8: 0})


def test_a_name_of_several_classes_is_told(tmp_path):
    found = values_of(tmp_path, {"liver": 1, "kidneys": 2})
    assert found == LabelMapping({0: 0, 1: LIVER, 2: 0}, ignored=("kidneys",))


def test_regions_that_are_shown_with_other_values_are_refused(tmp_path):
    content = {"labels": {"spleen": 1, "liver": [2, 3], "cancer": 3}}
    assert values_of(tmp_path, {**content, "regions_class_order": [1, 2, 3]}).class_of[3] == LIVER
    with pytest.raises(TrainingError, match="'spleen' the value 2"):
        values_of(tmp_path, {**content, "regions_class_order": [2, 1, 3]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"aorta": 1}, r"none of \['aorta'\].*liver, spleen"),
        ({"liver": 1, "spleen": 1}, "value 1 means two classes"),
        ({"liver": 0}, "value 0 means two classes"),
        ({"liver": [1, 4], "spleen": 4}, "value 4 means two classes: 'spleen' and 'liver'"),
        ({"liver": [1, 2], "spleen": [2, 3]}, "value 2 means two classes"),
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
