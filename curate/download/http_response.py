"""What an HTTP server's answer means for a file of which a part is there; nothing is done here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from curate.download.part_file import ResumeInfo
from curate.download.retry_policy import parse_retry_after

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
class Answer:
    """The head of an answer.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        now: When it came.
    """

    status: int
    headers: Mapping[str, str]
    now: datetime


@dataclass(frozen=True)
class Held:
    """What is there of the file.

    Attributes:
        offset: Bytes of it; 0 means that the whole file was asked for.
        size_bytes: Of the whole file, as the recipe says, if it does.
        info: What the server said of the file before.
    """

    offset: int
    size_bytes: int | None
    info: ResumeInfo


@dataclass(frozen=True)
class Verdict:
    """What to do.

    Attributes:
        action: `append` the body to the part; `restart` the part with the body; `complete`: the
            part is all there is; `forget` the part and ask again; `retry` later; `refuse` for good.
        reason: Why, for people.
        retry_after_seconds: How long the server asks to be left alone, if it does.
        info: What the server says of the file, for a restart.
    """

    action: Literal["append", "restart", "complete", "forget", "retry", "refuse"]
    reason: str = ""
    retry_after_seconds: float | None = None
    info: ResumeInfo | None = None


def judge(answer: Answer, held: Held) -> Verdict:
    """Say what to do with an answer."""
    if answer.status == 200:
        return _judge_whole(answer, held)
    if answer.status == 206:
        return _judge_rest(answer, held)
    if answer.status == 416 and held.offset:
        return _judge_beyond(answer, held)
    said = f"the server answered {answer.status}"
    if answer.status in TRANSIENT or answer.status >= 500:
        wish = parse_retry_after(answer.headers.get("retry-after"), answer.now)
        return Verdict("retry", said, retry_after_seconds=wish)
    advice = ADVICE.get(answer.status)
    return Verdict("refuse", f"{said}: {advice}" if advice else said)


def _judge_whole(answer: Answer, held: Held) -> Verdict:
    if problem := _no_plain_file(answer):
        return Verdict("retry", problem)
    total = _number(answer.headers.get("content-length"))
    if None not in (total, held.size_bytes) and total != held.size_bytes:
        return Verdict("refuse", _other_size(total, held.size_bytes))
    info = held.info.model_copy(
        update={
            "total_bytes": total if total is not None else held.size_bytes,
            "etag": _strong_etag(answer),
            "last_modified": answer.headers.get("last-modified"),
        }
    )
    return Verdict("restart", "the server sends the whole file", info=info)


def _judge_rest(answer: Answer, held: Held) -> Verdict:
    if problem := _no_plain_file(answer):
        return Verdict("retry", problem)
    span = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("content-range", "").strip()
    )
    if span is None or int(span[1]) != held.offset:
        return Verdict("forget", "the server sent another part of the file than was asked for")
    total = _number(span[3])
    if None not in (total, held.size_bytes) and total != held.size_bytes:
        return Verdict("refuse", _other_size(total, held.size_bytes))
    changed = None not in (total, held.info.total_bytes) and total != held.info.total_bytes
    etag = _strong_etag(answer)
    if changed or (None not in (etag, held.info.etag) and etag != held.info.etag):
        return Verdict("forget", "the file on the server was changed meanwhile")
    return Verdict("append")


def _judge_beyond(answer: Answer, held: Held) -> Verdict:
    total = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("content-range", "").strip())
    if total and int(total[1]) == held.offset and held.size_bytes in (None, held.offset):
        return Verdict("complete")
    return Verdict("forget", "the file on the server is shorter than what is here of it")


def _no_plain_file(answer: Answer) -> str | None:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return f"the server sent the file {encoding}-encoded, though asked for it plain"
    if answer.headers.get("content-type", "").strip().lower().startswith("text/html"):
        return "a web page came instead of the file: does this network want a log-in?"
    return None


def _other_size(total: int | None, expected: int | None) -> str:
    return (
        f"the server has a file of {total:,} bytes, expected {expected:,}: it is not the file that "
        f"the recipe describes"
    )


def _strong_etag(answer: Answer) -> str | None:
    etag = answer.headers.get("etag", "").strip()
    return etag if etag.startswith('"') else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
