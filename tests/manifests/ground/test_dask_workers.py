"""Jobs on a Dask cluster: a worker that dies costs nobody's result but that of a guilty job."""

import os
import signal
from contextlib import closing
from functools import partial

import pytest

pytest.importorskip("distributed")

import dask

from manifests.ground.dask_cluster import ClusterError, check_cluster, connected
from manifests.ground.dask_workers import UnfitWorkerError, run_on_dask, run_on_worker
from manifests.ground.workers import WorkerDiedError

DEATHS = {"distributed.scheduler.allowed-failures": 0}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processes, and its scheduler's address."""
    with dask.config.set(DEATHS), connected("local", workers=2) as client:
        yield client


@pytest.fixture
def run(cluster, tmp_path):
    address = cluster.scheduler.address
    return partial(run_on_dask, workers=1, address=address, shared=tmp_path / "shared")


def job(path):
    """A square; a job named `die` always ends its process, one named `once` only at first."""
    if path.name == "die" or (path.name == "once" and not path.exists()):
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "raise":
        msg = "five"
        raise ValueError(msg)
    path.touch()
    return path.name


def test_a_dead_worker_costs_one_job_and_an_exception_none(run, tmp_path):
    names = [*map(str, range(6)), "die", "raise", *map(str, range(6, 12))]
    outcomes = {path.name: outcome for path, outcome in run(job, [tmp_path / n for n in names])}
    assert isinstance(outcomes.pop("die"), WorkerDiedError)
    assert isinstance(outcomes.pop("raise"), ValueError)
    assert outcomes == {name: name for name in map(str, range(12))}
    assert list((tmp_path / "shared").iterdir()) == []


def test_the_job_of_a_killed_worker_runs_again(run, tmp_path):
    outcomes = dict(run(job, [tmp_path / "1", tmp_path / "once", tmp_path / "2"]))
    assert set(outcomes.values()) == {"1", "once", "2"}


def test_closing_gives_up_what_is_not_begun(run, tmp_path):
    paths = [tmp_path / str(number) for number in range(300)]
    with closing(run(slow_touch, paths)) as outcomes:
        next(outcomes)
    assert len([path for path in paths if path.exists()]) < 100


def slow_touch(path):
    from time import sleep

    sleep(0.02)
    path.touch()


def test_worker_that_does_not_see_the_folder_does_nothing(tmp_path):
    with pytest.raises(UnfitWorkerError, match=f"does not see {tmp_path}"):
        run_on_worker(job, tmp_path / "token", {}, tmp_path / "1")
    assert list(tmp_path.iterdir()) == []


def test_unfit_cluster_ends_the_run_before_a_case_is_blamed(run, tmp_path, monkeypatch):
    monkeypatch.setattr("manifests.ground.dask_workers._versions", lambda: {"marginalia": "other"})
    with pytest.raises(ClusterError, match=r"other versions: expected .*other"):
        list(run(job, [tmp_path / "1"]))
    assert not (tmp_path / "1").exists()


def test_no_cluster_at_the_address(monkeypatch):
    monkeypatch.setattr("manifests.ground.dask_cluster.CONNECT_SECONDS", 1)
    with pytest.raises(ClusterError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        check_cluster("tcp://127.0.0.1:9")
