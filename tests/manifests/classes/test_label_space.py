"""Label spaces: the shipped ones, a user's own, and what is refused."""

import tomllib

import pytest

from manifests.classes.label_space import LabelSpace, load_label_space, shipped_label_spaces
from manifests.classes.structures import vocabulary
from manifests.ground.errors import LabelSpaceError

MINE = """
name = "mine"
left_right_pairs = [["left_kidney", "right_kidney"]]

[structures.hepatic_cyst]
part_of = "liver"

[[classes]]
name = "left_kidney"
structures = ["left_kidney"]
colour = "#112233"

[[classes]]
name = "right_kidney"
structures = ["right_kidney"]
colour = "#445566"

[[classes]]
name = "cyst"
structures = ["hepatic_cyst"]
colour = "#778899"
"""


def test_papers_label_space_has_its_five_organs_with_their_tumours(abdomen5):
    assert abdomen5.names == (
        *("background", "liver", "spleen", "pancreas", "left_kidney", "right_kidney"),
    )
    assert len(abdomen5) == 6
    assert abdomen5.class_of["pancreas_tumour"] == abdomen5.class_of["pancreas"] == 3


def test_there_are_five_shipped_label_spaces():
    sizes = {name: len(load_label_space(name)) for name in shipped_label_spaces()}
    assert sizes == {
        "abdomen13": 14,
        "abdomen15": 16,
        "abdomen5": 6,
        "pancreas_tumour": 3,
        "tumours5": 6,
    }


@pytest.mark.parametrize("name", shipped_label_spaces())
def test_shipped_label_space_is_sound(name):
    space = load_label_space(name)
    sides = {c.name: c.laterality for c in space.classes}
    pairs = [tuple(sides[side] for side in pair) for pair in space.left_right_pairs]

    assert space.name == name
    assert pairs == [("left", "right")] * len(pairs)
    assert 2 * len(pairs) == sum(side is not None for side in sides.values())
    assert len({c.colour for c in space.classes}) == len(space.classes)
    assert not space.structures  # only the vocabulary's


def test_vocabulary_is_closed():
    structures = vocabulary()
    assert {s.part_of for s in structures.values() if s.part_of} <= structures.keys()
    assert all(s.code for s in structures.values())
    assert {n for n, s in structures.items() if s.region} == {
        n for n in structures if n.endswith("_tumour")
    }


@pytest.mark.parametrize("as_text", [True, False])
def test_users_own_file_is_taken_wherever_a_name_is(tmp_path, as_text):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    space = load_label_space(str(path) if as_text else path)
    assert space.names == ("background", "left_kidney", "right_kidney", "cyst")
    assert space.class_of["hepatic_cyst"] == 3


def test_json_gives_the_same_label_space():
    space = LabelSpace.model_validate(tomllib.loads(MINE))
    assert (space.names[3], space.class_of["hepatic_cyst"]) == ("cyst", 3)  # fills the caches
    assert LabelSpace.model_validate_json(space.model_dump_json()) == space


def test_unknown_name_tells_the_known_ones():
    with pytest.raises(LabelSpaceError, match=r"'abdomen6'.*abdomen13, abdomen15, .*TOML file"):
        load_label_space("abdomen6")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "cyst"', 'name = "left_kidney"', "class 'left_kidney' is listed twice"),
        ('name = "cyst"', 'name = "background"', "'background' is class 0"),
        ('name = "cyst"', 'name = "Cyst"', "classes.2.name"),
        ('["hepatic_cyst"]', '["left_kidney"]', "structure 'left_kidney' is in two classes"),
        ('["hepatic_cyst"]', '["spleeen"]', "unknown structure 'spleeen'; did you mean 'spleen'"),
        ('["hepatic_cyst"]', "[]", "classes.2.structures"),
        ('pairs = [["left_kidney"', 'pairs = [["left_lung"', "'left_lung', which is not a class"),
        ('pairs = [["left_kidney"', 'pairs = [["right_kidney"', "in two left_right_pairs"),
        ("#112233", "red", "classes.0.colour"),
        ('name = "mine"', 'name = "mine"\ncolor = 1', "color"),
        ('name = "mine"', "name = ", "cannot be read"),
    ],
)
def test_fault_in_a_file_is_named(tmp_path, old, new, complaint):
    assert old in MINE
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(LabelSpaceError, match=complaint) as caught:
        load_label_space(path)
    assert str(path) in str(caught.value)


def test_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelSpaceError, match="cannot be read"):
        load_label_space(path)
