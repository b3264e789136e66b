"""The front door: what holds for all commands."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from marginalia import app


def test_version_is_told_and_nothing_is_done():
    result = CliRunner().invoke(app, ["--version", "demo"])
    assert (result.exit_code, result.output) == (0, f"marginalia {version('marginalia')}\n")


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_the_commands(words):
    output = CliRunner().invoke(app, words).output
    assert "One segmentation network" in output
    assert {"demo", "prepare", "inspect", "train", "evaluate"} <= set(output.split())
