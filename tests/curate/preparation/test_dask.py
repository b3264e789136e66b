"""Preparation on a Dask cluster: the same bytes, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
from functools import partial
from time import monotonic, sleep

import pytest

pytest.importorskip("distributed")

from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.output_folder import STAGING
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.dask_cluster import connected
from manifests.ground.dask_workers import run_on_dask
from manifests.ground.unpack import unpack

SPACING_MM = (6.0, 6.0, 6.0)
COARSE = {"spacing_mm": (6.0, 6.0)}
SECONDS = 120


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """An unpacked dataset of six cases, one of them damaged."""
    folder = unpacked(tmp_path_factory.mktemp("raw"), cases=6)
    damaged = sorted((folder / "msd_spleen").rglob("imagesTr/*.nii.gz"))[2]
    damaged.write_bytes(b"no image")
    return folder


def unpacked(folder, *, cases):
    write_phantom_archives(folder, seed=1, cases={"msd_spleen": cases}, **COARSE)
    unpack(folder / "Task09_Spleen.tar", folder / "msd_spleen")
    (folder / "Task09_Spleen.tar").unlink()
    return folder


def prepared(raw, out, **where):
    target = Target(load_label_space("abdomen5"), SPACING_MM, out)
    return prepare(PrepareRequest((load_recipe("msd_spleen"),), raw, target), workers=2, **where)


def content_of(out):
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".prepare.lock")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def here(raw, tmp_path_factory):
    """What the local executor makes of it."""
    out = tmp_path_factory.mktemp("here")
    assert prepared(raw, out).made == 5
    return content_of(out)


def test_same_bytes_on_a_cluster_one_of_whose_workers_is_killed(raw, here, tmp_path):
    pids = []
    with connected("local", workers=2) as client:

        def kill_one(work, done, _):
            if work == "prepare cases" and done == 1:
                pids.extend(client.run(os.getpid).values())
                os.kill(pids[0], signal.SIGKILL)

        address = client.scheduler.address
        executor = partial(run_on_dask, address=address, shared=tmp_path / STAGING)
        report = prepared(raw, tmp_path, executor=executor, notify=kill_one)
    assert len(pids) == 2
    assert [rejected.finding.code for rejected in report.rejected] == ["unreadable"]
    assert content_of(tmp_path) == here


def test_interrupted_run_leaves_nothing_behind_and_the_next_does_the_rest(tmp_path):
    cases = 12  # so many that the signal comes before the last, on a busy machine too
    raw, whole, out = unpacked(tmp_path / "raw", cases=cases), tmp_path / "whole", tmp_path / "out"
    words = ["prepare", "msd_spleen", "--raw", raw, "--out", out, "--offline", "--jobs", "1"]
    spacing = ["--spacing", *map(str, SPACING_MM)]
    command = [sys.executable, "-m", "marginalia", *words, *spacing, "--dask", "local"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        text=True,
        preexec_fn=heed_interrupts,
    )
    wait_for(lambda: process.poll() is not None or any(out.glob("cases/*/*/case.json")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not (out / STAGING).exists()
    wait_for(lambda: not lives(process.pid))  # no worker does
    assert prepared(raw, whole).made == cases
    assert prepared(raw, out).made < cases
    assert content_of(out) == content_of(whole)


def heed_interrupts():
    """As in a terminal: what a script starts in the background inherits that they are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition):
    started = monotonic()
    while not condition():
        assert monotonic() - started < SECONDS
        sleep(0.02)


def lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
