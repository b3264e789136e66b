"""The front door: what holds for all commands."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from manifests.ground.errors import MarginaliaError
from marginalia import app, main


def test_version_is_told_and_nothing_is_done():
    result = CliRunner().invoke(app, ["--version", "demo"])
    assert (result.exit_code, result.output) == (0, f"marginalia {version('marginalia')}\n")


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_the_commands(words):
    output = CliRunner().invoke(app, words).output
    assert "One segmentation network" in output
    assert {"demo", "prepare", "inspect", "train", "evaluate"} <= set(output.split())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/data/x"), "No space left on device: '/data/x'"),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError: maximum recursion"),
        (MemoryError(), "MemoryError: out of memory"),
        (MarginaliaError("the [/red]evil dataset"), "Error: the [/red]evil dataset"),
    ],
)
def test_errors_of_files_and_machine_are_one_line(monkeypatch, capsys, error, said):
    def fail():
        raise error

    monkeypatch.setattr("marginalia.app", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("marginalia.app", {}.popitem)
    with pytest.raises(KeyError):
        main()
