"""Fixtures of the tests that download."""

from random import Random

import pytest

from curate.download.http import Session
from curate.download.http_client import new_client
from curate.download.remote_file import RemoteFile
from curate.download.retry_policy import RetryPolicy
from curate.preparation.prepare import prepare
from tests.curate.fetching import CONTENT, STALL_SECONDS
from tests.curate.loopback import serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def http_client():
    with new_client(stall_seconds=STALL_SECONDS) as client:
        yield client


@pytest.fixture
def slept():
    """The seconds that were waited, had anybody waited."""
    return []


@pytest.fixture
def session(http_client, slept):
    return Session(http_client, RetryPolicy(failures=4, jitter=Random(0), sleep=slept.append))


@pytest.fixture
def wanted(server, tmp_path):
    """Serve content, and describe it as a recipe would."""

    def make(content=CONTENT, **facts):
        resource = server.serve("/data.tar", content, **facts)
        return resource, RemoteFile(
            name="mine/data.tar",
            url=f"{server.url}/data.tar",
            target=tmp_path / "mine" / "data.tar",
            part=tmp_path / "mine" / "partial" / "data.tar.part",
            size_bytes=len(content),
            md5=resource.md5,
            sha256=resource.sha256,
            homepage="https://example.org",
        )

    return make


@pytest.fixture
def _in_this_process(monkeypatch):
    """Make cases without worker processes, whose start takes longer than a phantom."""

    def run_all(function, jobs, *, workers):  # noqa: ARG001
        for job in jobs:
            try:
                yield job, function(job)
            except Exception as error:
                yield job, error

    monkeypatch.setitem(prepare.__kwdefaults__, "executor", run_all)
