"""Running: each run once, failures on their own, and the table at the end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from manifests.edits import drop_structures
from tests.train.experiments.conftest import QUICK
from train.experiments import runner
from train.experiments.commands import app
from train.experiments.planned_run import plan_runs
from train.experiments.runner import kept_scores, run_all, run_once, run_spread

MINE = """
[datasets]
F = "full"
P1 = "livers"
P2 = "spleens"
[trainings]
F = { datasets = ["F"] }
liver = { datasets = ["F", "P1"], keep = ["liver"], set = { method = "regular" } }
[tables.small]
title = "Small"
rows = [{ title = "F", trainings = ["F"] }, { title = "liver", trainings = ["liver"] }]
"""


@pytest.fixture
def marginalia():
    root = typer.Typer()
    root.callback()(lambda: None)
    root.add_typer(app)
    return lambda *arguments: CliRunner().invoke(root, [str(a) for a in arguments])


@pytest.fixture
def command(tmp_path, path):
    (tmp_path / "mine.toml").write_text(MINE)
    settings = [word for setting in QUICK for word in ("--set", setting)]
    return (
        *("reproduce", "small", path, "--out", tmp_path / "out", "--preset", "tiny", *settings),
        *("--experiments", tmp_path / "mine.toml"),
    )


def test_a_run_is_done_once_and_a_broken_one_does_not_end_the_others(request_):
    events = []
    runs = plan_runs(request_, ["broken", "F"])
    broken, first = run_all(runs, on_event=lambda run, _: events.append(run.training))
    assert "none_such" in broken.failure
    assert first.scores is not None
    assert set(events) == {"F"}
    assert {s.case_id for s in first.scores.scores} == {"full/5", "livers/9", "spleens/2"}
    events.clear()
    (again,) = run_all(plan_runs(request_, ["F"]), on_event=lambda run, _: events.append(run))
    assert again.was_there
    assert not events
    assert again.scores.rows.equals(first.scores.rows)


def test_a_run_is_scored_again_if_the_truth_is_another(request_):
    (run,) = plan_runs(request_, ["F"])
    run_once(run)
    less = drop_structures(request_.manifest, ["spleen"], where="case_id = 'livers/9'")
    (other,) = plan_runs(replace(request_, manifest=less), ["F"])
    assert other.folder == run.folder  # the training is the same
    assert kept_scores(run)
    assert kept_scores(other) is None


def test_a_run_that_stopped_before_its_last_epoch_is_not_done(request_, monkeypatch):
    (run,) = plan_runs(request_, ["F"])

    def stop(*_, **__):
        msg = "the disk is full"
        raise OSError(msg)

    monkeypatch.setattr(runner, "of_network", stop)
    outcome = run_once(run)
    assert outcome.failure == "the disk is full"
    assert kept_scores(run) is None
    monkeypatch.undo()
    trained = []
    outcome = run_once(run, on_event=lambda _, event: trained.append(type(event).__name__))
    assert outcome.scores is not None
    assert set(trained) <= {"Started"}  # nothing was left to train


def test_another_process_is_waited_for_at_the_end(request_):
    from filelock import FileLock

    first, second = plan_runs(request_, ["F", "spleen"])
    first.folder.mkdir(parents=True)
    lock = FileLock(first.folder / runner.LOCK)
    lock.acquire()
    done = []
    for outcome in run_all([first, second]):
        done.append(outcome.run.training)
        lock.release()
    assert done == ["spleen", "F"]


def test_workers_do_runs_and_one_that_dies_does_not_end_the_others(request_, monkeypatch):
    runs = plan_runs(request_, ["F", "spleen"])
    do = runner.run_once

    def dies(run):
        if run.training == "F":
            raise MemoryError
        return do(run)

    monkeypatch.setattr(runner, "run_once", dies)
    with ThreadPoolExecutor(1) as workers:
        outcomes = {o.run.training: o for o in run_spread(runs, workers)}
    assert "its worker failed" in outcomes["F"].failure
    assert outcomes["spleen"].scores is not None


def test_the_command_makes_the_table_and_its_pictures(marginalia, command, tmp_path):
    result = marginalia(*command, "--seeds", 0, 1)
    assert result.exit_code == 0, result.output
    assert result.output.count("test Dice") == 4
    folder = tmp_path / "out" / "tables" / "small"
    assert {"table.csv", "table.md", "table.tex"} <= {p.name for p in folder.iterdir()}
    assert len(list((folder / "overlays" / "typical").glob("*.png"))) == 3
    assert "seeds: 2 a row" in (folder / "table.md").read_text(encoding="utf-8")


def test_a_dry_run_lists_times_and_commands_and_writes_nothing(marginalia, command, tmp_path, path):
    before = set(path.parent.rglob("*"))
    result = marginalia(*command, "--seeds", 0, 1, "--dry-run")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert sum(line.startswith("marginalia train ") for line in lines) == 4
    assert sum(line.startswith("marginalia edit ") for line in lines) == 2
    assert "# 4 runs, " in lines[-1]
    assert not (tmp_path / "out").exists()
    assert set(path.parent.rglob("*")) == before


def test_a_slurm_array_has_a_task_for_each_run(marginalia, command, tmp_path, monkeypatch, path):
    script = tmp_path / "array.sh"
    words = [str(w) for w in (*command, "--seeds", 0, 1, "--slurm", script)]
    monkeypatch.setattr("sys.argv", ["marginalia", *words])
    result = marginalia(*words)
    assert result.exit_code == 0, result.output
    text = script.read_text(encoding="utf-8")
    assert "#SBATCH --array=0-3" in text
    tasks = [line for line in text.splitlines() if line.startswith("  'marginalia reproduce small")]
    assert [line.split("--only ")[1] for line in tasks] == [
        *("F --seeds 0'", "liver --seeds 0'", "F --seeds 1'", "liver --seeds 1'")
    ]
    assert "--slurm" not in text
    assert list(path.parent.glob("reproduce-*.parquet"))


def test_one_training_alone_makes_no_table(marginalia, command, tmp_path):
    result = marginalia(*command, "--only", "F")
    assert result.exit_code == 0, result.output
    assert result.output.count("test Dice") == 1
    assert not (tmp_path / "out" / "tables").exists()


def test_selection_on_test_cases_is_marked_everywhere(marginalia, command, tmp_path):
    result = marginalia(*command, "--select-on", "test")
    assert result.exit_code == 0, result.output
    assert "TEST split" in result.output.replace("\n", " ")
    folder = tmp_path / "out" / "tables" / "small-selected-on-test"
    for name in ("table.csv", "table.md", "table.tex"):
        assert "selected on the TEST split" in (folder / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "nil"), "no training nil"),
        (("--seeds", "one"), "Invalid value for '--seeds'"),
        (("--budget", "hours"), "'--budget'"),
    ],
)
def test_a_bad_option_is_explained(marginalia, command, words, said):
    result = marginalia(*command, *words)
    assert result.exit_code == 2
    assert said in result.output
