"""Tables of public models' label values, compared with values that were looked up by hand."""

import re
import tomllib
from pathlib import Path

import pytest

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import TrainingError
from train.scoring.labels_file import FOLDER, label_tables, read_label_mapping

ORGANS = ("liver", "spleen", "pancreas", "left_kidney", "right_kidney", "aorta")
# cysts count as the kidney that they lie in, vessels of the liver as liver
VALUES = {
    "abdomenatlas": ({5, 19}, {8}, {6}, {3}, {4}, {1}),
    "amos": ({6}, {1}, {10}, {3}, {2}, {8}),
    "btcv": ({6}, {1}, {11}, {3}, {2}, {8}),
    "cads": ({5}, {1}, {10}, {3}, {2}, {7}),
    "cads_551": ({5}, {1}, {10}, {3}, {2}, {7}),
    "flare22": ({1}, {3}, {4}, {13}, {2}, {5}),
    "totalsegmentator": ({5}, {1}, {7}, {3, 23}, {2, 24}, {52}),
    "totalsegmentator_v1": ({5}, {1}, {10}, {3}, {2}, {7}),
    "vista3d": ({1, 25, 26}, {3}, {4, 24}, {14, 116}, {5, 117}, {6}),
}
COUNTS = {"totalsegmentator": 117, "totalsegmentator_v1": 104, "vista3d": 124, "cads": 167}


def values_of(name, space):
    mapping = read_label_mapping(Path(name), space)
    found = {
        n: {v for v, c in mapping.class_of.items() if c == space.names.index(n)} for n in ORGANS
    }
    return mapping, tuple(found.values())


def test_every_table_is_tested():
    assert set(label_tables()) == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_organs_have_their_values(name):
    mapping, found = values_of(name, load_label_space("abdomen13"))
    assert found == VALUES[name]
    # all other values are known to be background
    assert mapping.unknown == ()
    assert len(mapping.class_of) == 1 + COUNTS.get(name, max(mapping.class_of))


@pytest.mark.parametrize("space", ["abdomen5", "abdomen15", "pancreas_tumour"])
@pytest.mark.parametrize("name", VALUES)
def test_no_name_is_a_question(name, space):
    assert read_label_mapping(Path(name), load_label_space(space)).known


def test_a_tumour_is_told_apart_where_the_model_does():
    space = load_label_space("pancreas_tumour")
    class_of = read_label_mapping(Path("vista3d"), space).class_of
    assert (class_of[4], class_of[24]) == (
        space.names.index("pancreas"),
        space.names.index("pancreas_tumour"),
    )


@pytest.mark.parametrize("name", VALUES)
def test_a_source_is_a_file_at_a_commit(name):
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    assert table["title"]
    assert re.fullmatch(r"https://github.com/[\w-]+/[\w-]+/blob/[0-9a-f]{40}/\S+", table["source"])


def test_a_name_that_is_no_model_is_refused_with_the_names():
    with pytest.raises(TrainingError, match=r"'totalsegmentor'; did you mean 'totalsegmentator'"):
        read_label_mapping(Path("totalsegmentor"), load_label_space("abdomen5"))


def test_a_file_of_such_a_name_is_still_read(tmp_path):
    path = tmp_path / "vista3d"
    path.write_text('{"liver": 9}')
    assert read_label_mapping(path, load_label_space("abdomen5")).class_of == {0: 0, 9: 1}
