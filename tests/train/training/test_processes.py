"""Processes: work is shared out whole, and two processes learn what one would."""

import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch
from lightning_fabric import Fabric

from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.settings import resolve
from train.training.loop import train
from train.training.processes import Processes, part_bounds, shard_batch, start_processes

QUICK = (
    *("patch_size_zyx=16,16,16", "filters=4,8,8", "patches_per_dataset=6", "batch_size=4"),
    *("stage_epochs=1,1", "validation_every=1", "augmentation=nnunet", "device=cpu"),
    # Adam makes steps of the rounding errors of gradients that are 0, as those of biases are here
    *("optimiser=sgd", "learning_rate=1e-2"),
    # what is compared is the same sums in another order, which bfloat16 would round
    "precision=float32",
)


def process(rank, count):
    return Mock(spec=Fabric, global_rank=rank, world_size=count)


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (5, 1), (5, 2), (2, 3), (7, 7)])
def test_bounds_share_out_everything_once_and_evenly(count, parts):
    cut = [part_bounds(count, part, parts) for part in range(parts)]
    assert [n for start, stop in cut for n in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in cut]
    assert max(sizes) - min(sizes) <= 1


def test_a_process_without_a_patch_takes_one_that_does_not_count():
    shares = [shard_batch(["a", "b"], process(rank, 3)) for rank in range(3)]
    assert [s for s in shares if s[1]] == [(["a"], 0.5), (["b"], 0.5)]
    assert [s for s in shares if not s[1]] == [(["a"], 0.0)]


def test_more_processes_than_patches_are_refused():
    with pytest.raises(TrainingError, match="3 processes cannot share batches of 2 patches"):
        start_processes(resolve("tiny"), Processes(devices=3))


def weights(run):
    tensors = load_checkpoint(checkpoint_path(run, "last")).tensors
    return {name: t for name, t in tensors.items() if name.startswith("network/")}


@pytest.fixture(scope="module")
def alone(manifest_path, tmp_path_factory):
    """A run of one process."""
    from manifests.table.manifest import read_manifest

    run = tmp_path_factory.mktemp("alone")
    train(read_manifest(manifest_path), run, resolve("tiny", QUICK))
    return run


def test_a_batch_in_parts_teaches_the_same(alone, manifest, tmp_path):
    train(manifest, tmp_path, resolve("tiny", [*QUICK, "accumulation=3"]))
    for name, expected in weights(alone).items():
        torch.testing.assert_close(weights(tmp_path)[name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("accumulation", "advice"),
    [(1, "; set accumulation=2 to"), (3, "; set accumulation=4 to"), (4, "; begin")],
)
def test_advice_when_out_of_memory_leads_to_settings_that_are_taken(
    manifest, tmp_path, monkeypatch, accumulation, advice
):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("train.training.learner._backward", fail)
    settings = resolve("tiny", [*QUICK, f"accumulation={accumulation}"])
    with pytest.raises(TrainingError, match=advice):
        train(manifest, tmp_path, settings)


def command(manifest_path, run):
    sets = [word for setting in QUICK for word in ("--set", setting)]
    return ["-m", "marginalia", "train", manifest_path, "--out", run, "--preset", "tiny", *sets]


@pytest.mark.slow
def test_two_processes_teach_what_one_does(alone, manifest_path, tmp_path):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    ran = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command(manifest_path, tmp_path), "--devices", "2"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for name, expected in weights(alone).items():
        torch.testing.assert_close(weights(tmp_path)[name], expected, rtol=1e-3, atol=1e-4)
    one, two = (load_checkpoint(checkpoint_path(r, "last")).header for r in (alone, tmp_path))
    assert two.losses == pytest.approx(one.losses, rel=1e-4)
    assert ran.stdout.count("best validation Dice") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_the_run_and_the_command_says_so(manifest_path, tmp_path, number, code):
    run = subprocess.Popen(
        [sys.executable, "-u", *command(manifest_path, tmp_path), "--set", "stage_epochs=1,500"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        # a script's background ignores Ctrl-C, and its children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout is not None
    assert any("training on" in line for line in run.stdout)
    run.send_signal(number)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == code
    assert "the same command resumes" in " ".join(said.split())
    assert load_checkpoint(checkpoint_path(tmp_path, "last")).header.epochs < 500
