"""What an HTTP response means for a file of which a part is there; nothing is done here."""

import re
from datetime import UTC, datetime
from typing import Literal

import httpx2

from curate.download.part_file import PartFile, ResumeInfo
from curate.download.retry_policy import TransientError, parse_retry_after
from manifests.ground.errors import SourceError

TRANSIENT = frozenset({408, 421, 423, 425, 429})  # besides everything from 500 up
ADVICE = {
    401: "it wants to know who asks",
    403: "it does not give it to us, or not to this network",
    404: "there is no such file any more",
    407: "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    410: "there is no such file any more",
    451: "it may not give it out where you are",
}


class OutdatedPartError(TransientError):
    """What is here is no part of the file that the server has now; ask again without it."""

    def __init__(self, reason: str) -> None:
        """Keep the reason; there is nothing to wait for."""
        super().__init__(reason, retry_after_seconds=0.0)


def transient_error(response: httpx2.Response) -> TransientError | None:
    """Return the error of a status that may go away, with how long the server asks to wait."""
    status = response.status_code
    if status not in TRANSIENT and status < 500:
        return None
    wait_seconds = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    return TransientError(f"the server answered {status}", wait_seconds)


def judge(response: httpx2.Response, part: PartFile) -> Literal["append", "restart", "complete"]:
    """Decide what to do: `append` the body, `restart` with it, or regard the part as `complete`.

    Raises:
        SourceError: The server refuses, or has another file.
        TransientError: The same may go well later.
        OutdatedPartError: The part is to be dropped first.
    """
    status = response.status_code
    if error := transient_error(response):
        raise error
    if status in (200, 206):
        _check_plain(response)
    if status == 200:
        _check_size(_number(response.headers.get("content-length")), part)
        return "restart"
    if status == 206:
        _check_rest(response, part)
        return "append"
    if status == 416 and part.offset:
        total = _content_range(response, r"bytes \*/(\d+)")
        if total and int(total[1]) == part.offset and part.file.size_bytes in (None, part.offset):
            return "complete"
        reason = "the file on the server is shorter than what is here of it"
        raise OutdatedPartError(reason)
    advice = f": {ADVICE[status]}" if status in ADVICE else ""
    raise _refusal(part, f"the server answered {status}{advice}")


def describe(response: httpx2.Response, part: PartFile) -> ResumeInfo:
    """Return what the server says of the whole file that it sends."""
    total = _number(response.headers.get("content-length"))
    return part.info.model_copy(
        update={
            "total_bytes": total if total is not None else part.file.size_bytes,
            "etag": _strong_etag(response),
            "last_modified": response.headers.get("last-modified"),
        }
    )


def _check_plain(response: httpx2.Response) -> None:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        reason = f"the server sent the file {encoding}-encoded, though asked for it plain"
        raise TransientError(reason)
    if response.headers.get("content-type", "").strip().lower().startswith("text/html"):
        reason = "a web page came instead of the file: does this network want a log-in?"
        raise TransientError(reason)


def _check_size(total: int | None, part: PartFile) -> None:
    expected = part.file.size_bytes
    if _differ(total, expected):
        reason = (
            f"the server has a file of {total:,} bytes, expected {expected:,}: it is not the file "
            f"that the recipe describes"
        )
        raise _refusal(part, reason)


def _check_rest(response: httpx2.Response, part: PartFile) -> None:
    span = _content_range(response, r"bytes (\d+)-\d+/(\d+|\*)")
    if span is None or int(span[1]) != part.offset:
        reason = "the server sent another part of the file than was asked for"
        raise OutdatedPartError(reason)
    total = _number(span[2])
    _check_size(total, part)
    if _differ(_strong_etag(response), part.info.etag) or _differ(total, part.info.total_bytes):
        reason = "the file on the server was changed meanwhile"
        raise OutdatedPartError(reason)


def _refusal(part: PartFile, reason: str) -> SourceError:
    return SourceError(f"{part.file.name}: {part.file.url}: {reason}; {part.file.by_hand}")


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
