"""A pool that outlives its workers."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import SimpleITK as sitk

from manifests.ground import workers
from manifests.ground.workers import THREADS, WorkerDiedError, run_all, threads_each


def job(number):
    if number == 3:
        os._exit(1)
    if number == 5:
        msg = "five"
        raise ValueError(msg)
    return number * number


def test_a_dead_worker_costs_one_job_and_an_exception_none():
    outcomes = dict(run_all(job, range(8), workers=2))
    assert isinstance(outcomes.pop(3), WorkerDiedError)
    assert isinstance(outcomes.pop(5), ValueError)
    assert outcomes == {n: n * n for n in (0, 1, 2, 4, 6, 7)}


def threads(_):
    return sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), {os.environ[n] for n in THREADS}


@pytest.mark.parametrize(("workers", "each"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_the_threads_of_all_workers_are_as_many_as_cores(monkeypatch, workers, each):
    monkeypatch.setattr("manifests.ground.workers.usable_cores", lambda: 8)
    (found,) = dict(run_all(threads, [0], workers=workers)).values()
    assert found == (each, {str(each)})


def touch(path):
    path.touch()


def test_closing_gives_up_what_is_not_begun(tmp_path):
    paths = [tmp_path / str(number) for number in range(50)]
    with closing(run_all(touch, paths, workers=2)) as outcomes:
        next(outcomes)
    assert 1 <= len(list(tmp_path.iterdir())) <= 4


def test_the_jobs_after_a_death_run_in_a_new_pool(tmp_path):
    paths = [tmp_path / str(number) for number in range(20)]
    outcomes = dict(run_all(die_or_touch, [*paths[:3], tmp_path / "die", *paths[3:]], workers=2))
    assert isinstance(outcomes.pop(tmp_path / "die"), WorkerDiedError)
    assert set(outcomes.values()) == {None}
    processes = {path.read_text() for path in paths}
    assert len(processes) <= 6  # of two pools, and of the two jobs that were under way


def die_or_touch(path):
    if path.name == "die":
        os._exit(1)
    path.write_text(str(os.getpid()))


PROGRAM = """
import os, sys, threading
from filelock import FileLock, Timeout
from manifests.ground import workers
from manifests.ground.workers import run_all, share_threads

if __name__ == "__main__":
    share_threads(2)
import numpy, pyarrow

def job(number):
    if number == 3:
        os._exit(1)
    return os.environ["OMP_NUM_THREADS"], __name__

if __name__ == "__main__":
    if "thread" in sys.argv:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    with FileLock("lock"):
        outcomes = dict(run_all(job, range(5), workers=2))
        try:
            FileLock("lock", timeout=0).acquire()
        except Timeout:
            outcomes["lock"] = "held"
    print({n: getattr(o, "args", o) for n, o in sorted(outcomes.items(), key=str)})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody knows of native threads")
@pytest.mark.parametrize(("words", "module"), [([], "__main__"), (["thread"], "__mp_main__")])
def test_workers_are_forks_of_a_process_without_other_threads(tmp_path, words, module):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    # as many threads as cores, the lock of the parent as it was, and a death that costs one job
    told = str(threads_each(2)), module
    expected = dict.fromkeys((0, 1, 2, 4), told) | {3: ("the process died",), "lock": "held"}
    assert done.stdout == f"{dict(sorted(expected.items(), key=str))}\n", done.stderr


def test_a_thread_that_is_ending_is_waited_for(tmp_path, monkeypatch):
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "comm").write_text("python")
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(workers, "THREADS_HERE", tmp_path)
    monkeypatch.setattr(workers.threading, "active_count", lambda: 1)
    monkeypatch.setattr(workers.time, "sleep", lambda _: None)
    assert workers._start_method(1) == "spawn"
    monkeypatch.setattr(workers.time, "sleep", lambda _: shutil.rmtree(tmp_path / "2"))
    assert workers._start_method(1) == "fork"
