"""Why a class cannot be told apart: one sentence, with the line to write."""

import pytest

from curate.recipes.distinctions import explain_joined_classes
from curate.recipes.schema import load_recipe, shipped_recipes
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import annotated_classes, merged_classes

RECIPE = """
name = "mine"
title = "mine"
version = "1"
licence = "none"
commercial_use = false
citation = "none"
{head}
[layout]
kind = "pairs"
roots = ["mine"]
case = 's\\d+'
images = ["{{case}}.nii"]
labels = ["{{case}}_seg.nii"]
[values]
{values}
"""
SPACE = 'name = "some"\n' + "".join(
    f'[[classes]]\nname = "{name}"\nstructures = {structures}\n'
    for name, structures in (
        ("left_kidney", '["left_kidney"]'),
        ("pancreas", '["pancreas"]'),
        ("pancreas_tumour", '["pancreas_tumour"]'),
        ("liver", '["liver", "liver_tumour"]'),
        ("spleen", '["spleen"]'),
    )
)


@pytest.fixture
def explain(tmp_path):
    def explain(values, head=""):
        (tmp_path / "mine.toml").write_text(RECIPE.format(values=values, head=head))
        (tmp_path / "some.toml").write_text(SPACE)
        recipe = load_recipe(tmp_path / "mine.toml")
        return explain_joined_classes(recipe, load_label_space(tmp_path / "some.toml"))

    return explain


@pytest.mark.parametrize(
    ("values", "head", "said"),
    [
        (
            '3 = ["left_kidney", "left_kidney_tumour"]',
            "",
            "left_kidney cannot be told apart: value 3 covers left_kidney + left_kidney_tumour, "
            "and left_kidney_tumour is in no class of some; write in the label space, in class "
            'left_kidney: structures = ["left_kidney", "left_kidney_tumour"]',
        ),
        (
            '1 = ["pancreas", "pancreas_tumour"]',
            "",
            "pancreas cannot be told apart: value 1 covers pancreas + pancreas_tumour, and "
            "pancreas_tumour is another class of some; if the labels leave pancreas_tumour out, "
            'write in the recipe: 1 = ["pancreas"] and, above [layout], unlabelled = '
            '["pancreas_tumour"]',
        ),
        (
            '1 = ["liver"]',
            'unlabelled = ["liver_tumour"]',
            "liver cannot be told apart from the background: in some it has liver_tumour too, "
            "which no value covers; if the labels draw it with the rest, write in the recipe: "
            '1 = ["liver", "liver_tumour"]',
        ),
        (
            '1 = ["spleen", "stomach"]',
            "",
            "spleen cannot be told apart: value 1 covers spleen + stomach, and stomach is in no "
            "class of some; only other datasets can teach the difference",
        ),
    ],
)
def test_the_reason_and_the_line_to_write(explain, values, head, said):
    assert explain(values, head)[0] == said


def test_there_is_nothing_to_explain_where_all_is_told_apart(explain):
    assert explain('1 = ["liver", "liver_tumour"]\n2 = ["spleen"]') == []


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("space", ["abdomen5", "abdomen13", "pancreas_tumour"])
def test_every_class_that_is_explained_is_not_annotated(name, space):
    recipe, space = load_recipe(name), load_label_space(space)
    sentences = explain_joined_classes(recipe, space)
    annotated = {space.names[n] for n in annotated_classes(merged_classes(recipe.blocks, space))}
    assert not annotated & {s.split()[0] for s in sentences}
    if space.name == "abdomen5":
        assert not sentences
