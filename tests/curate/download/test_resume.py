"""Going on where an earlier run, or an earlier connection, stopped."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from random import Random

import pytest

from curate.download.http import fetch
from curate.download.remote_file import RemoteFile
from manifests.ground.errors import SourceError
from tests.curate.fetching import CONTENT, OTHER, info_of, is_fetched, leave, without
from tests.curate.loopback import (
    and_then,
    answer,
    change_to,
    drop_after,
    ignore_if_range,
)

# A file that changes on the server.


def test_a_changed_file_restarts_instead_of_being_spliced(wanted, session):
    resource, file = wanted(OTHER)
    resource.content = CONTENT
    resource.then(drop_after(100_000), change_to(OTHER, '"two"'))
    fetch(file, session)
    assert is_fetched(file, OTHER)
    assert resource.ranges == [None, "bytes=100000-"]  # If-Range got the whole file in one answer


def test_a_changed_file_is_seen_though_the_server_ignores_if_range(wanted, session):
    resource, file = wanted(OTHER)
    resource.content = CONTENT
    resource.then(drop_after(100_000), and_then(change_to(OTHER, '"two"'), ignore_if_range))
    fetch(without(file, "md5", "sha256"), session)  # no checksum would show a splice
    assert is_fetched(file, OTHER)
    assert resource.ranges == [None, "bytes=100000-", None]


def test_a_changed_length_is_seen_without_any_etag(wanted, session):
    resource, file = wanted(OTHER[:200_000], etag=None)
    resource.content = CONTENT
    resource.then(drop_after(100_000), change_to(OTHER[:200_000], None))
    fetch(without(file, "size_bytes"), session)
    assert is_fetched(file, OTHER[:200_000])
    assert resource.ranges == [None, "bytes=100000-", None]


def test_a_splice_that_nobody_could_see_is_found_by_the_checksum_and_fetched_anew(wanted, session):
    resource, file = wanted(OTHER, etag=None)
    resource.content = CONTENT
    resource.then(drop_after(100_000), change_to(OTHER, None))
    fetch(file, session)
    assert is_fetched(file, OTHER)
    assert resource.ranges == [None, "bytes=100000-", None]


def test_without_etag_and_checksum_nothing_is_resumed(wanted, session):
    resource, file = wanted(etag=None)
    resource.then(drop_after(100_000))
    fetch(without(file, "md5", "sha256"), session)
    assert is_fetched(file)
    assert resource.ranges == [None, None]


def test_a_weak_etag_is_not_sent_but_the_date_is(wanted, session):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    resource, file = wanted(etag='W/"one"', last_modified=date)
    resource.then(drop_after(100_000))
    fetch(file, session)
    assert resource.requests[1]["if-range"] == date
    assert resource.ranges[1] == "bytes=100000-"


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_a_wrong_checksum_says_expected_and_got_and_leaves_nothing(wanted, session, name):
    resource, file = wanted()
    wrong = RemoteFile(**{**vars(file), name: "0" * (32 if name == "md5" else 64)})
    with pytest.raises(SourceError, match="expected") as error:
        fetch(wrong, session)
    assert f"expected {name} 0000" in str(error.value)
    assert f"got {getattr(resource, name)}" in str(error.value)
    assert len(resource.requests) == 1
    assert not file.target.exists()
    assert file.part.stat().st_size == 0


# What an earlier run left.


def test_the_next_run_goes_on_where_this_one_stopped(wanted, session):
    resource, file = wanted()
    leave(file, session, resource, 200_000)
    seen = []
    fetch(file, replace(session, on_progress=seen.append))
    assert is_fetched(file)
    assert resource.ranges == ["bytes=200000-"]
    assert resource.requests[0]["if-range"] == '"one"'
    assert seen[0].checking
    assert next(t.done_bytes for t in seen if not t.checking) == 200_000


def test_a_part_that_the_disk_damaged_is_fetched_anew(wanted, session):
    resource, file = wanted()
    leave(file, session, resource, 200_000)
    damaged = bytearray(file.part.read_bytes())
    damaged[77] ^= 1
    file.part.write_bytes(damaged)
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == ["bytes=200000-", None]


def test_a_part_that_was_whole_already_needs_no_request(wanted, session):
    resource, file = wanted()
    leave(file, session, resource, 299_999)
    file.part.write_bytes(CONTENT)
    fetch(file, session)
    assert is_fetched(file)
    assert resource.requests == []


def test_a_whole_part_of_unknown_size_is_confirmed_by_416(wanted, session):
    resource, file = wanted()
    file = without(file, "size_bytes")
    leave(file, session, resource, 299_999)
    file.part.write_bytes(CONTENT)
    info = json.loads(info_of(file).read_text())
    info_of(file).write_text(json.dumps({**info, "total_bytes": None}))
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == ["bytes=300000-"]


def test_416_for_a_part_that_is_too_long_restarts(wanted, session):
    resource, file = wanted()
    file = without(file, "size_bytes", "md5", "sha256")
    leave(file, session, resource, 200_000)
    resource.then(answer(416, content_range="bytes */150000"))
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == ["bytes=200000-", None]


def test_a_part_that_is_longer_than_the_file_is_not_asked_about(wanted, session):
    resource, file = wanted()
    leave(file, session, resource, 200_000)
    file.part.write_bytes(CONTENT + b"more")
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == [None]


def test_416_for_the_whole_file_is_refused(wanted, session):
    resource, file = wanted()
    resource.forever(answer(416))
    with pytest.raises(SourceError, match="answered 416"):
        fetch(file, session)


@pytest.mark.parametrize("damage", ["", "{", '{"url": 1}', None])
def test_a_part_without_its_note_is_not_trusted(wanted, session, damage):
    resource, file = wanted()
    leave(file, session, resource, 200_000)
    info_of(file).unlink()
    if damage is not None:
        info_of(file).write_text(damage)
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == [None]


def test_a_part_of_another_file_is_not_taken_for_this_one(wanted, session):
    resource, file = wanted(OTHER)
    leave(file, session, resource, 200_000)
    resource, file = wanted(CONTENT)  # the recipe changed
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == [None]


def test_kills_at_random_moments_fetch_nothing_twice(server, tmp_path):
    """Real processes, killed for good; the last one is let go on."""
    content = random.Random(3).randbytes(4_000_000)
    resource, part = server.serve("/big.tar", content), tmp_path / "big.part"
    script = f"""
import time
from pathlib import Path
from curate.download.http_client import new_client
from curate.download.http import Session, fetch
from curate.download.remote_file import RemoteFile
file = RemoteFile("big", {server.url + "/big.tar"!r}, Path({str(tmp_path / "big.tar")!r}),
                  Path({str(part)!r}), {len(content)}, {resource.md5!r}, {resource.sha256!r})
with new_client() as client:
    fetch(file, Session(client, on_progress=lambda _: time.sleep(0.002)))
"""
    for kills, enough in enumerate(sorted(Random(4).sample(range(len(content) * 3 // 4), 5))):
        process = subprocess.Popen([sys.executable, "-c", script])
        while len(resource.requests) == kills or part.stat().st_size < enough:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = part.stat().st_size
        assert not (tmp_path / "big.tar").exists()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "big.tar").read_bytes() == content
    assert len(resource.ranges) == 6
    assert resource.ranges[-1] == f"bytes={kept}-"
