"""Label spaces for people: listed, shown, checked and written."""

import pytest
from typer.testing import CliRunner

from manifests.classes.label_space import load_label_space, shipped_label_spaces
from manifests.commands import app
from manifests.ground.errors import LabelSpaceError


def call(*words, status=0):
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["label-space", *map(str, words)])
    assert result.exit_code == status, result.output
    return result.output if not status else str(result.exception)


def test_shipped_label_spaces_are_listed_and_shown():
    listed = call("list")
    assert all(name in listed for name in shipped_label_spaces())
    shown = call("show", "abdomen5")
    assert "left_kidney + left_kidney_tumour" in shown
    assert "#4c9fd1" in shown


@pytest.mark.parametrize("name", shipped_label_spaces())
def test_there_is_nothing_to_say_of_shipped_label_spaces(name):
    checked = call("check", name)
    assert "well formed" in checked
    assert "mirror" not in checked


def test_a_new_one_has_parts_pairs_colours_and_codes(tmp_path):
    path = tmp_path / "mine.toml"
    classes = "liver,liver_tumour,kidneys=left_kidney+right_kidney,Left Adrenal Gland"
    said = call("new", "mine", "--class", classes, "--class", "right adrenal gland", "--out", path)
    assert "3 kidneys = left_kidney + right_kidney + left_kidney_tumour" in said
    space = load_label_space(path)
    assert [c.structures for c in space.classes[:2]] == [("liver",), ("liver_tumour",)]
    assert space.left_right_pairs == (("left_adrenal_gland", "right_adrenal_gland"),)
    assert space.classes[0].snomed == "10200004"
    assert len({c.colour for c in space.classes}) == 5
    assert call("check", path) == "mine: 5 classes: well formed\n"
    again = call("new", "mine", "--class", "liver", "--out", path, status=1)
    assert "exists and is left as it is" in again


def test_an_unknown_structure_is_refused_or_declared(tmp_path):
    path = tmp_path / "mine.toml"
    said = call("new", "mine", "--class", "livr", "--out", path, status=1)
    assert "unknown structure 'livr'; did you mean 'liver'" in said
    assert not path.exists()
    call("new", "mine", "--class", "liver,mesh", "--declare", "mesh", "--out", path)
    assert load_label_space(path).names == ("background", "liver", "mesh")


def test_what_is_seldom_meant_is_said_with_the_line_to_write(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[[classes]]\nname = "left_kidney"\nstructures = ["left_kidney"]\n'
        '[[classes]]\nname = "right_kidney"\nstructures = ["right_kidney"]\n'
    )
    said = call("check", path)
    assert 'write left_right_pairs = [["left_kidney", "right_kidney"], ...]' in said
    assert 'class left_kidney: structures = ["left_kidney", "left_kidney_tumour"]' in said


def test_a_class_that_is_wrong_is_one_error(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[classes]]\nname = "Liver"\nstructures = ["liver"]\n')
    with pytest.raises(LabelSpaceError) as raised:
        load_label_space(path)
    assert len(str(raised.value).splitlines()) == 2
    assert "classes.0.name" in str(raised.value)


def test_colours_are_written_for_each_viewer(tmp_path):
    printed = call("colours", "abdomen5", "--out", tmp_path)
    names = ["abdomen5.ctbl", "abdomen5.label.txt", "abdomen5.niivue.json", "abdomen5_dseg.tsv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert all(name in printed for name in names)
