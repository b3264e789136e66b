"""What is fetched from the loopback server, and what a download leaves."""

import random

import pytest

from curate.download.http import fetch
from curate.download.plan import plan_missing
from curate.download.remote_file import RemoteFile
from curate.download.transfers import download
from manifests.ground.errors import SourceError
from tests.curate.loopback import answer, drop_after

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
STALL_SECONDS = 20.0  # longer than a busy machine may pause


def download_missing(recipes, raw, *, unpacked=None, **how):
    """Download what is not there, as `prepare` does."""
    return download(plan_missing(recipes, raw, unpacked=unpacked), raw, **how)


def without(file, *names):
    return RemoteFile(**{**vars(file), **dict.fromkeys(names)})


def info_of(file):
    return file.part.with_name(file.part.name + ".json")


def is_fetched(file, content=CONTENT):
    left = file.part.exists() or info_of(file).exists()
    return file.target.read_bytes() == content and not left


def leave(file, session, resource, count):
    """Have a run end after so many bytes."""
    resource.then(drop_after(count), answer(404))
    with pytest.raises(SourceError):
        fetch(file, session)
    assert file.part.stat().st_size == count
    resource.requests.clear()
