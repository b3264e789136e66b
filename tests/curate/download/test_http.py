"""One file over HTTP, from a server that does what servers and networks do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest

from curate.download.http import Session, fetch
from curate.download.http_client import new_client
from curate.download.remote_file import RemoteFile
from curate.download.retry_policy import (
    GaveUpError,
    RetryPolicy,
    parse_retry_after,
)
from manifests.ground.errors import SourceError
from tests.curate.fetching import CONTENT, OTHER, is_fetched, without
from tests.curate.loopback import (
    and_then,
    answer,
    drop_after,
    fine,
    ignore_range,
    reset_after,
    say_length,
    say_no_length,
    say_range,
    send_instead,
    serving,
    stall_after,
)

# The network.


def test_a_file_arrives_whole_and_nothing_else_is_left(wanted, session, slept):
    resource, file = wanted()
    seen = []
    fetch(file, replace(session, on_progress=seen.append))
    assert is_fetched(file)
    assert len(resource.requests) == 1
    assert slept == []
    assert [t.done_bytes for t in seen] == sorted(t.done_bytes for t in seen)
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (300_000, 300_000)


def test_a_dozen_drops_fetch_no_byte_twice(wanted, session):
    resource, file = wanted()
    resource.then(*[drop_after(20_000)] * 12)
    fetch(file, session)
    assert is_fetched(file)
    assert resource.sent_bytes == len(CONTENT)
    assert resource.ranges == [None, *(f"bytes={n * 20_000}-" for n in range(1, 13))]
    assert {r["if-range"] for r in resource.requests[1:]} == {'"one"'}


def test_resets_are_resumed(wanted, session):
    resource, file = wanted()
    resource.then(*[reset_after(40_000)] * 4)
    fetch(file, session)
    assert is_fetched(file)
    starts = [int(r[6:-1]) for r in resource.ranges[1:]]
    assert starts == sorted(starts)  # nothing that had arrived was asked for again


def test_drops_before_any_byte_end_it_after_the_agreed_number(wanted, session, slept):
    resource, file = wanted()
    resource.forever(drop_after(0))
    with pytest.raises(GaveUpError, match=r"5 failures in a row.*run the same command again"):
        fetch(file, session)
    assert len(resource.requests) == 5
    assert len(slept) == 4


def test_progress_starts_the_count_anew(wanted, session):
    resource, file = wanted()
    resource.then(*[answer(503)] * 4, drop_after(1000), *[answer(503)] * 3)
    fetch(file, session)
    assert is_fetched(file)


def test_a_server_that_is_not_there_is_given_up(wanted, session, server):
    _, file = wanted()
    server.server_close()
    with pytest.raises(GaveUpError, match=r"ConnectError.*HTTPS_PROXY"):
        fetch(file, session)


def test_a_stall_is_broken_off_and_resumed(wanted, session):
    resource, file = wanted()
    resource.then(stall_after(100_000))
    with new_client(stall_seconds=0.3) as client:  # the server itself would wait for 30 s
        fetch(file, Session(client, session.policy))
    assert is_fetched(file)
    assert resource.ranges[:2] == [None, "bytes=100000-"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_status_is_waited_out(wanted, session, slept, status):
    resource, file = wanted()
    resource.then(drop_after(50_000), answer(status), answer(status))
    fetch(file, session)
    assert is_fetched(file)
    assert resource.sent_bytes == len(CONTENT)
    assert len(slept) == 3


def test_waits_double_with_jitter_up_to_the_longest():
    policy = RetryPolicy(jitter=Random(0), first_seconds=1, longest_seconds=60)
    waits = [policy.wait_seconds(n) for n in range(1, 16)]
    for n, seconds in enumerate(waits):
        longest = min(60, 2**n)
        assert longest / 2 <= seconds <= longest
    assert len(set(waits)) == len(waits)


@pytest.mark.parametrize(("status", "seconds"), [(429, 7.0), (503, 120.0)])
def test_retry_after_in_seconds_is_honoured(wanted, session, slept, status, seconds):
    resource, file = wanted()
    resource.then(answer(status, retry_after=str(int(seconds))))
    fetch(file, session)
    assert slept == [seconds]


def test_retry_after_as_a_date_is_honoured(wanted, session, slept):
    resource, file = wanted()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    resource.then(answer(429, retry_after=date))
    fetch(file, session)
    assert 27 <= slept[0] <= 30


def test_retry_after_for_too_long_is_told_and_not_waited_for(wanted, session, slept):
    resource, file = wanted()
    resource.then(drop_after(1000), answer(429, retry_after="86400"))
    with pytest.raises(GaveUpError, match=r"asks for 86,400 s"):
        fetch(file, session)
    assert slept[1:] == []
    assert file.part.stat().st_size == 1000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0), (" 5 ", 5.0), ("-5", None), ("soon", None), (None, None), ("", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_read(text, seconds):
    assert parse_retry_after(text, datetime(2015, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_redirects_are_followed_every_time_with_range(wanted, session, server):
    resource, file = wanted()
    hop = server.serve("/old.tar", b"").forever(answer(302, location="/data.tar"))
    resource.then(drop_after(50_000))
    fetch(RemoteFile(**{**vars(file), "url": f"{server.url}/old.tar"}), session)
    assert is_fetched(file)
    assert len(hop.requests) == 2
    assert resource.ranges == [None, "bytes=50000-"]


def test_a_redirect_to_another_host_is_not_sent_the_token(wanted, session):
    resource, file = wanted()
    with serving() as other:
        hop = other.serve("/gate", b"").then(answer(302, location=file.url))
        with_token = {"Authorization": "Bearer secret"}
        fetch(
            RemoteFile(**{**vars(file), "url": f"{other.url}/gate", "headers": with_token}), session
        )
    assert hop.requests[0]["authorization"] == "Bearer secret"
    assert "authorization" not in resource.requests[0]


def test_a_circle_of_redirects_ends(wanted, session, server):
    _, file = wanted()
    server.serve("/data.tar", b"").forever(answer(302, location="/data.tar"))
    with pytest.raises(SourceError, match=r"leads nowhere"):
        fetch(file, session)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "who asks"), (403, "does not give it"), (404, "no such file"), (410, "no such file"),
     (407, "HTTPS_PROXY"), (400, "answered 400")],
)  # fmt: skip
def test_a_lasting_status_ends_it_at_once_and_keeps_the_part(wanted, session, status, words):
    resource, file = wanted()
    resource.then(drop_after(50_000), answer(status))
    with pytest.raises(SourceError, match=words) as error:
        fetch(file, session)
    assert not isinstance(error.value, GaveUpError)
    for part in (file.name, file.url, "https://example.org", str(file.target)):
        assert part in str(error.value)
    assert len(resource.requests) == 2
    assert file.part.stat().st_size == 50_000


# Lies.


def test_a_length_that_is_too_long_is_a_drop(wanted, session):
    resource, file = wanted()
    file = without(file, "size_bytes")
    resource.then(and_then(drop_after(1000), say_length(len(CONTENT) + 5)))
    fetch(file, session)
    assert is_fetched(file)


def test_another_length_than_the_recipes_is_refused_before_the_body(wanted, session):
    resource, file = wanted()
    resource.then(drop_after(50_000), and_then(ignore_range, say_length(1234)))
    with pytest.raises(SourceError, match=r"1,234 bytes, expected 300,000"):
        fetch(file, session)
    assert file.part.stat().st_size == 50_000  # what came before is not thrown away for this


def test_a_length_that_is_too_short_is_found_by_the_checksum(wanted, session):
    resource, file = wanted()
    resource.forever(say_length(1234))
    with pytest.raises(SourceError, match=rf"expected md5 {resource.md5}, got [0-9a-f]{{32}}"):
        fetch(without(file, "size_bytes"), session)
    assert not file.target.exists()


def test_more_than_the_recipes_bytes_is_never_written(wanted, session):
    resource, file = wanted()
    resource.forever(and_then(send_instead(CONTENT + OTHER), say_no_length))
    with pytest.raises(GaveUpError, match=r"more than the 300,000 bytes"):
        fetch(file, session)
    assert file.part.stat().st_size == 0


def test_no_length_at_all_is_fine_if_the_recipe_knows_it(wanted, session):
    resource, file = wanted()
    resource.forever(say_no_length)
    resource.then(and_then(drop_after(5000), say_no_length))
    fetch(file, session)
    assert is_fetched(file)


def test_a_body_without_length_that_always_ends_early_is_given_up(wanted, session):
    resource, file = wanted()
    resource.forever(and_then(send_instead(CONTENT[:7000]), say_no_length))
    with pytest.raises(GaveUpError, match=r"ended after 7,000 of 300,000 bytes"):
        fetch(file, session)


def test_no_length_anywhere_is_fine_if_the_checksum_fits(wanted, session):
    resource, file = wanted()
    resource.then(and_then(send_instead(CONTENT[:7000]), say_no_length), say_no_length)
    fetch(
        without(file, "size_bytes"), session
    )  # the end of a short body cannot be told from a drop
    assert is_fetched(file)
    assert len(resource.requests) == 2


def test_a_server_that_ignores_range_sends_all_again(wanted, session):
    resource, file = wanted()
    resource.then(drop_after(100_000)).forever(ignore_range)
    fetch(file, session)
    assert is_fetched(file)
    assert resource.sent_bytes == 100_000 + len(CONTENT)


@pytest.mark.parametrize(
    "text", ["bytes 0-299999/300000", "bytes 7-299999/300000", "nonsense", "items 1-2/3"]
)
def test_another_part_than_asked_for_is_not_spliced(wanted, session, text):
    resource, file = wanted()
    resource.then(drop_after(100_000), say_range(text))
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == [None, "bytes=100000-", None]


def test_a_web_page_instead_of_the_file_is_waited_out_and_named(wanted, session):
    resource, file = wanted()
    page = send_instead(b"<html>Welcome to our hospital</html>", content_type="text/html")
    resource.then(drop_after(50_000), page, page)
    fetch(file, session)
    assert is_fetched(file)
    resource.forever(page)
    file.target.unlink()
    with pytest.raises(GaveUpError, match="want a log-in"):
        fetch(file, session)


def test_an_encoded_body_is_not_taken_for_the_file(wanted, session):
    resource, file = wanted()
    resource.then(and_then(fine, send_instead(b"zip", content_encoding="gzip")))
    fetch(file, session)
    assert is_fetched(file)
    assert resource.requests[0]["accept-encoding"] == "identity"
