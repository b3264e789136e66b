"""Lists on the command line: every way to type one."""

import pytest

from manifests.ground.word_lists import ListForm, spell_lists

FORMS = {
    "--spacing": ListForm(count=3, numbers=True),
    "--seeds": ListForm(numbers=True),
    "--drop": ListForm(),
    "--set": ListForm(numbers=True, joined=True),
    "--settings": ListForm(optional=True),
}


@pytest.mark.parametrize(
    "typed",
    [
        "--spacing 3 3 4.5",
        "--spacing 3,3,4.5",
        "--spacing 3, 3, 4.5",
        "--spacing=3,3,4.5",
        "--spacing 3,3 4.5",
        "--spacing=3 3 4.5",
    ],
)
@pytest.mark.parametrize("after", [[], ["mine.toml"], ["--out", "7"], ["8"]])
def test_a_list_of_so_many_numbers(typed, after):
    spelled = spell_lists(["prepare", *typed.split(), *after], FORMS)
    assert spelled == ["prepare", "--spacing", "3", "3", "4.5", *after]


@pytest.mark.parametrize("typed", ["--spacing 3 3", "--spacing 3,3,3,3", "--spacing mine.toml"])
def test_a_list_of_another_length_is_refused(typed):
    with pytest.raises(ValueError, match="expected 3 numbers, as in --spacing 3 3 3 or --spacing"):
        spell_lists([*typed.split(), "--out", "there"], FORMS)


@pytest.mark.parametrize("typed", ["--seeds 0 1 2", "--seeds 0,1,2", "--seeds 0, 1 2"])
def test_numbers_repeat_their_option(typed):
    words = [*typed.split(), "data"]
    assert spell_lists(words, FORMS) == ["--seeds", "0", "--seeds", "1", "--seeds", "2", "data"]


@pytest.mark.parametrize(
    "typed", ["--drop liver,spleen", "--drop liver, spleen", "--drop=liver,spleen"]
)
def test_names_are_parted_by_commas(typed):
    words = [*typed.split(), "data"]
    assert spell_lists(words, FORMS) == ["--drop", "liver", "--drop", "spleen", "data"]


@pytest.mark.parametrize("typed", ["--set a=1 2 3", "--set a=1,2,3", "--set a=1, 2, 3"])
def test_a_value_keeps_its_commas(typed):
    assert spell_lists([*typed.split(), "data"], FORMS) == ["--set", "a=1,2,3", "data"]


@pytest.mark.parametrize(
    "words", [["--set", "a=b"], ["--drop"], ["--", "--drop", "a,b"], ["--out", "a,b"], ["-1", "--"]]
)
def test_other_words_are_left_as_they_are(words):
    assert spell_lists(words, FORMS) == words


@pytest.mark.parametrize(
    ("typed", "spelled"),
    [
        (["--settings"], ["--settings", ""]),
        (["--settings", "--out", "x"], ["--settings", "", "--out", "x"]),
        (["--settings", "tiny"], ["--settings", "tiny"]),
        (["--settings=tiny"], ["--settings=tiny"]),
    ],
)
def test_a_word_that_may_be_left_out(typed, spelled):
    assert spell_lists(typed, FORMS) == spelled
