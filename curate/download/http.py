"""Fetching one file over HTTP, through whatever the network does, without fetching a byte twice."""

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import httpx2

from curate.download.http_answer import Answer, Held, Verdict, judge
from curate.download.http_client import certificate_problem
from curate.download.part_file import Note, PartFile, opened
from curate.download.patience import BrokenOffError, Patience
from curate.download.remote_file import RemoteFile, Transfer, Watch, unwatched
from manifests.ground.errors import SourceError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Line:
    """What files come over.

    Attributes:
        client: Shared by all of them.
        patience: Likewise.
    """

    client: httpx2.Client
    patience: Patience = field(default_factory=Patience)


def fetch(file: RemoteFile, line: Line, *, watch: Watch = unwatched) -> None:
    """Fetch a file: go on where an earlier run stopped, check all of it, put it in its place.

    Raises:
        SourceError: The server refuses, what came is not the file, or the disk is full.
        GaveUpError: The network stayed out of order.
        StoppedError: The download is to end.
    """
    try:
        with opened(file, partial(_checking, file, line, watch)) as part:
            _receive_checked(part, line, watch)
            part.finish()
    except OSError as error:
        raise SourceError(_disk_trouble(file, error)) from error


def _receive_checked(part: PartFile, line: Line, watch: Watch) -> None:
    file = part.file
    _receive(part, line, watch)
    problem = part.problem()
    # Pieces of two states of the file, or a damaged disk: once more from the start.
    if problem and part.doubtful:
        part.restart(Note.of(file))
        _receive(part, line, watch)
        problem = part.problem()
    if problem:
        part.restart(Note.of(file))
        msg = (
            f"{file.name}: what came from {file.url} is not the file that the recipe describes: "
            f"{problem}; run the same command again, and if it says the same, {file.by_hand}"
        )
        raise SourceError(msg)


def _checking(file: RemoteFile, line: Line, watch: Watch, done: int) -> None:
    line.patience.go_on_or_stop()
    watch(Transfer(file.name, done, file.part.stat().st_size, checking=True))


def _receive(part: PartFile, line: Line, watch: Watch) -> None:
    """Ask until the part is complete; failures count as a row while no new byte comes."""
    failures, furthest = 0, part.offset
    _tell(part, watch)
    while not part.is_complete:
        line.patience.go_on_or_stop()
        try:
            _ask(part, line, watch)
        except BrokenOffError as error:
            failures = 1 if part.offset > furthest else failures + 1
            furthest = max(furthest, part.offset)
            part.doubtful = part.offset > 0
            line.patience.wait(failures, error, f"{part.file.name} from {part.file.url}")


def _ask(part: PartFile, line: Line, watch: Watch) -> None:
    """Ask once for what is missing, and take what comes."""
    if not _may_resume(part):
        part.restart(Note.of(part.file))
    file, offset = part.file, part.offset
    try:
        with line.client.stream("GET", file.url, headers=_headers(part)) as response:
            answer = Answer(response.status_code, response.headers, datetime.now(UTC))
            verdict = judge(answer, Held(offset, file.size_bytes, part.note))
            if _act(verdict, part):
                _take(response.iter_raw(), part, line, watch)
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        msg = f"{file.name}: {file.url} leads nowhere: {error}; {file.by_hand}"
        raise SourceError(msg) from error
    except httpx2.TransportError as error:
        if problem := certificate_problem(error):
            msg = f"{file.name}: {file.url}: {problem}"
            raise SourceError(msg) from error
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise BrokenOffError(reason) from error


def _may_resume(part: PartFile) -> bool:
    """Whether a splice of two states of the file would be noticed."""
    checked = part.file.md5 or part.file.sha256
    return part.offset == 0 or bool(part.note.validator or checked)


def _headers(part: PartFile) -> dict[str, str]:
    headers = dict(part.file.headers)
    if part.offset:
        headers["Range"] = f"bytes={part.offset}-"
        if part.note.validator:
            headers["If-Range"] = part.note.validator
    return headers


def _act(verdict: Verdict, part: PartFile) -> bool:
    """Do what the verdict says; whether the body is to be taken."""
    file = part.file
    if verdict.action == "refuse":
        msg = f"{file.name}: {file.url}: {verdict.reason}; {file.by_hand}"
        raise SourceError(msg)
    if verdict.action == "retry":
        raise BrokenOffError(verdict.reason, verdict.asked_seconds)
    if verdict.action == "forget":
        part.restart(Note.of(file))
        raise BrokenOffError(verdict.reason, asked_seconds=0.0)
    if verdict.action == "complete":
        part.end_here()
    if verdict.action == "restart":
        part.restart(verdict.note or Note.of(file))
    return verdict.action in ("append", "restart")


def _take(chunks: Iterator[bytes], part: PartFile, line: Line, watch: Watch) -> None:
    total = part.total_bytes
    for chunk in chunks:
        line.patience.go_on_or_stop()
        if total is not None and part.offset + len(chunk) > total:
            part.restart(Note.of(part.file))
            reason = f"the server sent more than the {total:,} bytes that it is to have"
            raise BrokenOffError(reason)
        part.append(chunk)
        _tell(part, watch)
    if total is None:
        part.end_here()
    elif part.offset < total:
        reason = f"the server ended after {part.offset:,} of {total:,} bytes"
        raise BrokenOffError(reason)


def _disk_trouble(file: RemoteFile, error: OSError) -> str:
    folder = file.part.parent
    free = f"{shutil.disk_usage(folder).free:,}" if folder.is_dir() else "?"
    size = "?" if file.size_bytes is None else f"{file.size_bytes:,}"
    cause = "the disk is full" if error.errno in DISK_FULL else f"cannot write: {error}"
    return (
        f"{file.name}: {cause}: the file has {size} bytes, and {folder} has {free} bytes free; "
        f"make room, or choose another folder with --raw, and run the same command again: what "
        f"has come is kept"
    )


def _tell(part: PartFile, watch: Watch) -> None:
    watch(Transfer(part.file.name, part.offset, part.total_bytes))
