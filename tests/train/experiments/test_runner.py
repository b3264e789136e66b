"""Running: each run once, failures on their own, and the table at the end."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import typer
from safetensors import SafetensorError
from typer.testing import CliRunner

from manifests.changes.edits import edit
from manifests.ground import dask_cluster
from tests.train.experiments.conftest import QUICK
from train.experiments import runner
from train.experiments.commands import app
from train.experiments.plans.catalogue import Training
from train.experiments.plans.planned_run import plan_runs
from train.experiments.runner import kept_scores, on_cluster, run_all, run_once, run_spread
from train.training.events import StepDone

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
    less = edit(request_.manifest, drop=["spleen"], where="case_id = 'livers/9'")
    (other,) = plan_runs(replace(request_, manifest=less), ["F"])
    assert other.folder == run.folder  # the training is the same
    assert kept_scores(run)
    assert kept_scores(other) is None


def test_a_run_of_another_preset_of_that_name_is_not_taken_for_this_one(request_):
    (run,) = plan_runs(request_, ["F"])
    run_once(run)
    path = run.folder / "settings.json"
    whole = path.read_text(encoding="utf-8")

    def rewrite(change):
        saved = json.loads(whole)
        change(saved["settings"])
        path.write_text(json.dumps(saved), encoding="utf-8")

    rewrite(lambda s: s.update(learning_rate=0.5, augmentation={"noise": [0.5, 0.1, 0.2]}))
    failure = run_once(run).failure
    assert (
        "augmentation.noise was [0.5, 0.1, 0.2], is [0.0, 1.0, 1.0]; learning_rate was 0.5, is"
        in failure
    )
    assert "choose another --out" in failure
    # where it was computed, and what a version added or took away, does not count
    rewrite(lambda s: (s.pop("momentum"), s.update(device="cuda", gone=1)))
    assert run_once(run).was_there
    path.unlink()
    again = run_once(run)
    assert again.scores is not None
    assert not again.was_there  # the checkpoint, too, tells its settings


@pytest.mark.parametrize("error", [MemoryError("1 GiB"), SafetensorError("1 GiB"), TypeError("1")])
def test_no_error_of_one_run_ends_the_others(request_, monkeypatch, error):
    def give_up(*_args, **_options):
        raise error

    monkeypatch.setattr(runner, "train", give_up)
    results = list(run_all(plan_runs(request_, ["F", "liver"])))
    assert [str(error) in r.failure for r in results] == [True, True]


def test_a_run_that_stopped_before_its_last_epoch_is_not_done(request_, monkeypatch):
    (run,) = plan_runs(request_, ["F"])

    def stop(*_, **__):
        msg = "the disk is full"
        raise OSError(msg)

    monkeypatch.setattr(runner, "evaluate_run", stop)
    result = run_once(run)
    assert result.failure == "the disk is full"
    assert kept_scores(run) is None
    monkeypatch.undo()
    trained = []
    result = run_once(run, on_event=lambda _, event: trained.append(type(event).__name__))
    assert result.scores is not None
    assert set(trained) <= {"Started"}  # nothing was left to train


def test_another_process_is_waited_for_at_the_end(request_):
    from filelock import FileLock

    first, second = plan_runs(request_, ["F", "spleen"])
    first.folder.mkdir(parents=True)
    lock = FileLock(first.folder / runner.LOCK)
    lock.acquire()
    done = []
    for result in run_all([first, second]):
        done.append(result.run.training)
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
        results = {o.run.training: o for o in run_spread(runs, workers)}
    assert "its worker failed" in results["F"].failure
    assert results["spleen"].scores is not None


def test_dask_that_is_not_installed_is_named(request_, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    runs = plan_runs(request_, ["F"])
    with (
        pytest.raises(dask_cluster.ClusterError, match=r"install marginalia\[dask\]"),
        on_cluster(runs, "tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address"])
def test_a_dask_scheduler_that_is_not_there_is_named(request_, monkeypatch, address):
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.2)
    runs = plan_runs(request_, ["F"])
    with (
        pytest.raises(dask_cluster.ClusterError, match="no Dask scheduler at"),
        on_cluster(runs, address),
    ):
        pass


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


@pytest.mark.parametrize("first", [True, False])
def test_a_slurm_array_has_a_task_for_each_run(marginalia, command, tmp_path, path, first):
    """Wherever the options that choose runs stand."""
    script = tmp_path / "array.sh"
    name, *rest = command
    options = ("--seeds", 0, "--seeds", 1, "--slurm", script)
    words = (name, *options, *rest) if first else (*command, *options)
    result = marginalia(*words)
    assert result.exit_code == 0, result.output
    text = script.read_text(encoding="utf-8")
    assert "#SBATCH --array=0-3" in text
    tasks = [line for line in text.splitlines() if line.startswith("  'marginalia reproduce ")]
    experiments = tmp_path / "mine.toml"
    for again in (*tasks, text.partition("#   ")[2].splitlines()[0]):
        assert f"marginalia reproduce small {path} --out {tmp_path / 'out'} --preset tiny" in again
        assert all(f"--set {setting}" in again for setting in QUICK)
        assert f"--experiments {experiments}" in again
    assert f"--experiments {experiments} --seeds 0 1\n" in text  # the table's
    assert [line.split("--only ")[1] for line in tasks] == [
        *("F --seeds 0'", "liver --seeds 0'", "F --seeds 1'", "liver --seeds 1'")
    ]
    assert "--slurm" not in text
    assert list(path.parent.glob("reproduce-*.parquet"))


def test_what_cannot_be_planned_is_no_task_and_is_named(marginalia, command, tmp_path):
    script, mine = tmp_path / "array.sh", tmp_path / "mine.toml"
    mine.write_text(MINE.replace('F = { datasets = ["F"] }', 'F = { datasets = ["P9"] }'))
    result = marginalia(*command, "--slurm", script)
    assert result.exit_code == 3
    assert "F, seed 0: datasets names P9" in result.output
    assert "1 of 2 runs cannot be planned" in result.output
    assert "#SBATCH --array=0-0" in script.read_text(encoding="utf-8")
    script.unlink()
    result = marginalia(*command, "--dry-run")
    assert result.exit_code == 3
    assert "# F, seed 0: datasets names P9" in result.output
    assert result.output.count("marginalia train ") == 1
    assert "1 of 2 runs cannot be planned" in result.output
    result = marginalia(*command, "--slurm", script, "--only", "F")
    assert result.exit_code == 3
    assert "F, seed 0: datasets names P9" in result.output
    assert "sbatch" not in result.output
    assert not script.exists()


def test_what_can_be_planned_is_done_beside_what_cannot(marginalia, command, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE.replace('F = { datasets = ["F"] }', 'F = { datasets = ["P9"] }'))
    result = marginalia(*command)
    assert result.exit_code == 3
    assert "F, seed 0: datasets names P9" in result.output
    assert "liver, seed 0: test Dice" in result.output
    assert "1 of 2 runs failed" in result.output
    assert (tmp_path / "out" / "tables" / "small" / "table.csv").exists()


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


def test_runs_that_differ_in_the_second_stage_alone_share_the_first(request_):
    catalogue = request_.catalogue.model_copy(
        update={
            "trainings": {
                **request_.catalogue.trainings,
                "regular": Training.model_validate({"set": {"method": "regular"}}),
            }
        }
    )
    steps = []

    def on_event(run, event):
        if isinstance(event, StepDone):
            steps.append((run.training, run.seed, event.epoch))

    overrides = (*request_.overrides, "first_stage_dice=0")
    request = replace(request_, catalogue=catalogue, seeds=(0, 1), overrides=overrides)
    results = list(run_all(plan_runs(request, ["union", "regular"]), on_event=on_event))
    assert [r.failure for r in results] == [""] * 4
    whole, second = {1, 2}, {2}
    found = {key: {e for *k, e in steps if tuple(k) == key} for key in {s[:2] for s in steps}}
    assert found == {
        **{("union", seed): whole for seed in (0, 1)},
        **{("regular", seed): second for seed in (0, 1)},
    }
    alone = replace(request, out=request.out / "alone", seeds=(0,))
    (by_itself,) = run_all(plan_runs(alone, ["regular"]))
    (shared,) = (r for r in results if (r.run.training, r.run.seed) == ("regular", 0))
    assert by_itself.scores.rows.equals(shared.scores.rows)
