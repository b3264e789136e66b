"""What an HTTP response means for a file of which a part is there; nothing is done here."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import httpx2

from curate.download.part_file import PartFile, ResumeInfo
from curate.download.retry_policy import TransientError, parse_retry_after

TRANSIENT = frozenset({408, 421, 423, 425, 429})  # besides everything from 500 up
ADVICE = {
    401: "it wants to know who asks",
    403: "it does not give it to us, or not to this network",
    404: "there is no such file any more",
    407: "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    410: "there is no such file any more",
    451: "it may not give it out where you are",
}


@dataclass(frozen=True)
class Verdict:
    """What to do with a response.

    Attributes:
        action: `append` the body to the part; `restart` the part with the body; `complete`: the
            part is all there is; `forget` the part and ask again; `retry` later; `refuse` for good.
        reason: Why, for people.
        info: What the server says of the file, for a restart.
    """

    action: Literal["append", "restart", "complete", "forget", "retry", "refuse"]
    reason: str = ""
    info: ResumeInfo | None = None


def transient_error(response: httpx2.Response) -> TransientError | None:
    """Return the error of a status that may go away, with how long the server asks to wait."""
    status = response.status_code
    if status not in TRANSIENT and status < 500:
        return None
    wait_seconds = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    return TransientError(f"the server answered {status}", wait_seconds)


def judge(response: httpx2.Response, part: PartFile) -> Verdict:
    """Decide what to do with a response whose status is not transient."""
    status = response.status_code
    if status == 200:
        return _judge_whole(response, part)
    if status == 206:
        return _judge_rest(response, part)
    if status == 416 and part.offset:
        return _judge_beyond(response, part)
    advice = f": {ADVICE[status]}" if status in ADVICE else ""
    return Verdict("refuse", f"the server answered {status}{advice}")


def _judge_whole(response: httpx2.Response, part: PartFile) -> Verdict:
    expected = part.file.size_bytes
    if problem := _no_plain_file(response):
        return Verdict("retry", problem)
    total = _number(response.headers.get("content-length"))
    if _differ(total, expected):
        return Verdict("refuse", _other_size(total, expected))
    info = part.info.model_copy(
        update={
            "total_bytes": total if total is not None else expected,
            "etag": _strong_etag(response),
            "last_modified": response.headers.get("last-modified"),
        }
    )
    return Verdict("restart", "the server sends the whole file", info=info)


def _judge_rest(response: httpx2.Response, part: PartFile) -> Verdict:
    if problem := _no_plain_file(response):
        return Verdict("retry", problem)
    span = _content_range(response, r"bytes (\d+)-\d+/(\d+|\*)")
    if span is None or int(span[1]) != part.offset:
        return Verdict("forget", "the server sent another part of the file than was asked for")
    total = _number(span[2])
    if _differ(total, part.file.size_bytes):
        return Verdict("refuse", _other_size(total, part.file.size_bytes))
    changed = _differ(_strong_etag(response), part.info.etag)
    if changed or _differ(total, part.info.total_bytes):
        return Verdict("forget", "the file on the server was changed meanwhile")
    return Verdict("append")


def _judge_beyond(response: httpx2.Response, part: PartFile) -> Verdict:
    total = _content_range(response, r"bytes \*/(\d+)")
    if total and int(total[1]) == part.offset and part.file.size_bytes in (None, part.offset):
        return Verdict("complete")
    return Verdict("forget", "the file on the server is shorter than what is here of it")


def _no_plain_file(response: httpx2.Response) -> str | None:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return f"the server sent the file {encoding}-encoded, though asked for it plain"
    if response.headers.get("content-type", "").strip().lower().startswith("text/html"):
        return "a web page came instead of the file: does this network want a log-in?"
    return None


def _other_size(total: int | None, expected: int | None) -> str:
    return (
        f"the server has a file of {total:,} bytes, expected {expected:,}: it is not the file that "
        f"the recipe describes"
    )


def _content_range(response: httpx2.Response, pattern: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, response.headers.get("content-range", "").strip())


def _strong_etag(response: httpx2.Response) -> str | None:
    etag = response.headers.get("etag", "").strip()
    return etag if etag.startswith('"') else None


def _differ(one: object, other: object) -> bool:
    """Return whether both are known and not the same."""
    return None not in (one, other) and one != other


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
