"""The list of settings: complete, and each as `--set` takes it."""

import pytest
from typer.testing import CliRunner

from train.commands import app
from train.planning.settings_view import setting_meanings, setting_texts
from train.settings import PRESETS, resolve


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_shown_of_a_preset_sets_that_preset(preset):
    shown = setting_texts(PRESETS[preset])
    assert shown.keys() == setting_meanings().keys()
    assert all(setting_meanings().values())
    # a fitted patch and the like may be set all at once, whatever the preset was
    assert resolve("default", [f"{key}={text}" for key, text in shown.items()]) == PRESETS[preset]


def test_a_list_of_all_needs_no_manifest():
    output = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["train", "--settings"]).output
    for words in ("4,9 (tiny)", "60,140 (default, paper)", "batch_size", "augmentation.elastic"):
        assert words in output
    one = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["train", "--settings", "paper"]).output
    assert "48,190,190" in one
    assert "(tiny)" not in one
