"""Sections of the GPU run that train: memory, host waits, residences, resuming, a table."""

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.gpu.figure import Bench, Figure, at_least, at_most, holds

GIB = 2**30
TINY = (
    *("patch_size_zyx=16,16,16", "filters=4,8,8", "patches_per_dataset=4"),
    *("stage_epochs=1,2", "first_stage_dice=0", "validation_every=3"),
)


def memory(bench: Bench) -> Iterator[Figure]:
    """Memory that `train --dry-run` tells, that is taken, and the words where it is too little."""
    import torch

    from manifests.ground.errors import TrainingError
    from train.planning.footprint import footprint
    from train.training.batch_time import made_batch
    from train.training.learner import learn

    plan = _plan(bench, [] if not bench.quick else list(TINY))
    settings = plan.settings
    told = footprint(
        plan.network,
        len(plan.label_space),
        batch_size=settings.patches_at_once,
        optimiser=settings.optimiser,
        half=settings.precision == "bfloat16",
    ).total_bytes
    yield Figure("memory of a step, told by --dry-run", told / GIB, "GiB")
    learner = _learner(plan)
    device = learner.fabric.device
    batch = made_batch(plan, settings.batch_size, settings.patch_size_zyx, device)
    learner.objective.start_epoch(learner.predicting)
    losses = learn(learner, batch, settings, share_of_batch=1.0)
    yield holds("a step's loss", losses[0], "finite", met=losses[0] < float("inf"))
    if not bench.is_gpu:
        return
    torch.cuda.reset_peak_memory_stats(device)
    learn(learner, batch, settings, share_of_batch=1.0)
    taken = torch.cuda.max_memory_allocated(device)
    yield Figure("memory of a step, taken", taken / GIB, "GiB")
    yield at_most("memory, taken over told", taken / told, 1.25)
    yield at_least("memory, taken over told", taken / told, 0.75)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(0.6 * taken / total, device)
    try:
        learn(learner, batch, settings, share_of_batch=1.0)
        words = "no error"
    except TrainingError as error:
        words = str(error)
    right = words.startswith("out of memory") and "accumulation=2" in words
    yield holds("where memory is too small", words[:120], "says what to set", met=right)


def waits(bench: Bench) -> Iterator[Figure]:
    """How often the host waits for the device in a step: once, for the losses."""
    import torch

    from train.training.batch_time import made_batch
    from train.training.learner import learn

    if not bench.is_gpu:
        yield Figure("host waits in a step", "known only on a GPU")
        return
    plan = _plan(bench, ["ema_decay=0.9", "patch_size_zyx=32,64,64", "fit_patch=false"])
    learner, settings = _learner(plan), plan.settings
    device = learner.fabric.device
    batch = made_batch(plan, settings.batch_size, settings.patch_size_zyx, device)
    learner.objective.start_epoch(learner.predicting)
    for _ in range(2):
        learn(learner, batch, settings, share_of_batch=1.0)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(5):
            learn(learner, batch, settings, share_of_batch=1.0)
    torch.cuda.set_sync_debug_mode("default")
    count = sum("synchroniz" in str(w.message) for w in found) / 5
    for warning in found:
        sys.stdout.write(f"{warning.filename}:{warning.lineno}: {warning.message}\n")
    yield at_most("host waits in a step", count, 1)


def training(bench: Bench) -> Iterator[Figure]:
    """Both residences, resuming and both precisions on two tiny datasets."""
    import torch

    from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
    from train.settings import resolve
    from train.training.events import StepDone
    from train.training.loop import train

    manifest, folder = _manifest(), Path(tempfile.mkdtemp(prefix="training"))
    settings = resolve("tiny", [*TINY, f"device={bench.device}"])

    def stop(event: Any) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 2):
            raise KeyboardInterrupt

    ends: dict[str, Any] = {}
    for name, change in {
        "device": {"residence": "device"},
        "host": {"residence": "host"},
        "stopped": {"residence": "device"},
        "float32": {"residence": "device", "precision": "float32"},
    }.items():
        run, chosen = folder / name, settings.model_copy(update=change)
        if name == "stopped":
            with suppress(KeyboardInterrupt):
                train(manifest, run, chosen, on_event=stop)
        started = time.perf_counter()
        result = train(manifest, run, chosen)
        yield Figure(f"training, {name}", time.perf_counter() - started, "s")
        ends[name] = load_checkpoint(checkpoint_path(run, "last"))
        yield holds(f"training, {name}, epochs", result.epochs, "3", met=result.epochs == 3)
    whole = ends["device"]
    for name in ("host", "stopped", "float32"):
        pairs = zip(whole.header.losses, ends[name].header.losses, strict=True)
        wrong = max(abs(a - b) / abs(a) for a, b in pairs)
        most = 5e-2 if name == "float32" else 1e-2 if bench.is_gpu else 0.0
        yield at_most(f"losses, {name} against device, largest difference", wrong, most)
    same = all(torch.equal(t, ends["stopped"].tensors[n]) for n, t in whole.tensors.items())
    yield Figure("a stopped run ends with the same weights bit by bit", str(same))


def table3(bench: Bench) -> Iterator[Figure]:
    """Reproduce table3_multiclass on a phantom at 3 mm, with what time is left."""
    if not bench.is_gpu:
        yield Figure("table3_multiclass on a phantom", "only on a GPU")
        return
    ends = time.perf_counter() + bench.seconds - 10
    folder = Path(tempfile.mkdtemp(prefix="table3"))

    def marginalia(*words: str) -> float:
        started = time.perf_counter()
        command = [sys.executable, "-m", "marginalia", *words]
        left = max(1.0, ends - started)
        ran = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
        sys.stdout.write(ran.stdout + ran.stderr)
        if ran.returncode:
            msg = f"marginalia {' '.join(words)}: {(ran.stderr or ran.stdout)[-300:]}"
            raise RuntimeError(msg)
        return time.perf_counter() - started

    cases, study = folder / "phantom", folder / "study"
    words = ("phantom", "--out", str(cases), "--spacing", "3,3,3", "--share", "0.08")
    yield Figure("phantom at 3 mm", marginalia(*words), "s")
    short = ("stage_epochs=3,5", "patches_per_dataset=20", "validation_every=8", "memory_gib=30")
    changes = [word for setting in short for word in ("--set", setting)]
    words = ("reproduce", "table3_multiclass", str(cases), "--out", str(study), *changes)
    yield Figure("reproduce table3_multiclass", marginalia(*words), "s")
    kept = bench.folder / "tables"
    shutil.copytree(study / "tables", kept, dirs_exist_ok=True)
    yield Figure("table3_multiclass", str(kept))


def _manifest() -> Any:
    """Two tiny datasets; of one, every other organ is not labelled."""
    from manifests.classes.label_space import LabelClass, LabelSpace
    from manifests.table.manifest import Manifest
    from tests.train.conftest import CASES, write_case

    folder = Path(tempfile.mkdtemp(prefix="cases"))
    names = ("liver", "spleen")
    organs = [LabelClass(name=name, structures=(name,), colour="#aa0000") for name in names]
    cases = [
        write_case(folder, f"{dataset}/{number}", merged=merged, split=split, seed=number)
        for number, (dataset, merged, split) in enumerate(CASES)
    ]
    return Manifest.of(cases, LabelSpace(name="two", classes=tuple(organs)), folder=folder)


def _plan(bench: Bench, words: list[str]) -> Any:
    """The `default` preset's plan for the tiny datasets, with its own patch size."""
    from train.planning.plan import plan_training
    from train.settings import resolve

    settings = resolve("default", ["fit_patch=false", f"device={bench.device}", *words])
    return replace(plan_training(_manifest(), settings), spacing_mm=(1.5, 1.5, 3.0))


def _learner(plan: Any) -> Any:
    from train.training.learner import build_learner
    from train.training.processes import Processes, start_processes

    learner = build_learner(plan, start_processes(plan.settings, Processes()))
    learner.wrapped.train()
    return learner
