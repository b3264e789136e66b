"""The command: plan, training, resumption and errors as a user sees them."""

import pytest
import typer
from typer.testing import CliRunner

from manifests.ground.errors import TrainingError
from train.commands import app

QUICK = (
    *("--preset", "tiny"),
    *("--set", "patch_size_zyx=16,16,16", "--set", "filters=4,8,8"),
    *("--set", "patches_per_dataset=2", "--set", "stage_epochs=1,1"),
    *("--set", "first_stage_dice=0"),
)


@pytest.fixture
def marginalia():
    """Run a command line as the front door does."""
    root = typer.Typer()
    root.callback()(lambda: None)
    root.add_typer(app)

    def run(*arguments):
        return CliRunner().invoke(root, [str(a) for a in arguments])

    return run


def test_a_dry_run_shows_the_plan_and_writes_nothing(marginalia, manifest_path, tmp_path):
    out = tmp_path / "run"
    result = marginalia("train", manifest_path.parent, "--out", out, *QUICK, "--dry-run")
    assert result.exit_code == 0, result.output
    rows = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["both", "2", "2", "1"] in rows
    assert ["liver_only", "3", "0", "1"] in rows
    assert ["liver", "5", "2"] in rows
    assert ["spleen", "2", "1"] in rows
    assert "3 levels, 13,979 parameters" in result.output
    assert "patch: 16 x 16 x 16 voxels of 4 x 4 x 4 mm, 2 in a batch" in result.output
    assert not out.exists()


def test_training_twice_trains_once(marginalia, manifest_path, tmp_path):
    first = marginalia("train", manifest_path, "--out", tmp_path, *QUICK)
    assert first.exit_code == 0, first.output
    assert "epoch    2  stage 2  loss" in first.output
    assert (tmp_path / "checkpoints" / "best.safetensors").is_file()
    second = marginalia("train", manifest_path, "--out", tmp_path, *QUICK)
    assert second.exit_code == 0, second.output
    assert "is finished: 2 epochs; nothing to do" in second.output
    assert "stage 2  loss" not in second.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--preset", "huge"), "no preset 'huge'"),
        (("--set", "sped=1"), "cannot set 'sped=1'"),
        (("--set", "datasets=none"), "datasets names none"),
    ],
)
def test_errors_reach_the_front_door(marginalia, manifest_path, tmp_path, arguments, words):
    result = marginalia("train", manifest_path, "--out", tmp_path / "run", *arguments)
    assert isinstance(result.exception, TrainingError)
    assert words in str(result.exception)
    assert not (tmp_path / "run").exists()
