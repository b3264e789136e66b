"""Fetching one file over HTTP, through whatever the network does, without fetching a byte twice."""

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import httpx2

from curate.download.http_client import certificate_problem
from curate.download.http_response import Answer, Held, Verdict, judge
from curate.download.part_file import PartFile, ResumeInfo, opened
from curate.download.remote_file import OnProgress, RemoteFile, Transfer, ignore_progress
from curate.download.retry_policy import RetryPolicy, TransientError
from manifests.ground.errors import SourceError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Session:
    """What files come over.

    Attributes:
        client: Shared by all of them.
        policy: Decides when to ask again and when to give up.
    """

    client: httpx2.Client
    policy: RetryPolicy = field(default_factory=RetryPolicy)


def fetch(file: RemoteFile, session: Session, *, on_progress: OnProgress = ignore_progress) -> None:
    """Fetch a file: go on where an earlier run stopped, check all of it, put it in its place.

    Raises:
        SourceError: The server refuses, what came is not the file, or the disk is full.
        GaveUpError: The network stayed out of order.
        StoppedError: The download is to end.
    """
    try:
        with opened(file, partial(_checking, file, session, on_progress)) as part:
            _receive_checked(part, session, on_progress)
            part.finish()
    except OSError as error:
        raise SourceError(_disk_trouble(file, error)) from error


def _receive_checked(part: PartFile, session: Session, on_progress: OnProgress) -> None:
    file = part.file
    _receive(part, session, on_progress)
    problem = part.problem()
    # Pieces of two states of the file, or a damaged disk: once more from the start.
    if problem and part.doubtful:
        part.restart(ResumeInfo.of(file))
        _receive(part, session, on_progress)
        problem = part.problem()
    if problem:
        part.restart(ResumeInfo.of(file))
        msg = (
            f"{file.name}: what came from {file.url} is not the file that the recipe describes: "
            f"{problem}; run the same command again, and if it says the same, {file.by_hand}"
        )
        raise SourceError(msg)


def _checking(file: RemoteFile, session: Session, on_progress: OnProgress, done: int) -> None:
    session.policy.raise_if_stopped()
    on_progress(Transfer(file.name, done, file.part.stat().st_size, checking=True))


def _receive(part: PartFile, session: Session, on_progress: OnProgress) -> None:
    """Ask until the part is complete; failures count as a row while no new byte comes."""
    failures, furthest = 0, part.offset
    _tell(part, on_progress)
    while not part.is_complete:
        session.policy.raise_if_stopped()
        try:
            _ask(part, session, on_progress)
        except TransientError as error:
            failures = 1 if part.offset > furthest else failures + 1
            furthest = max(furthest, part.offset)
            part.doubtful = part.offset > 0
            session.policy.wait(failures, error, f"{part.file.name} from {part.file.url}")


def _ask(part: PartFile, session: Session, on_progress: OnProgress) -> None:
    """Ask once for what is missing, and take what comes."""
    if not _may_resume(part):
        part.restart(ResumeInfo.of(part.file))
    file, offset = part.file, part.offset
    try:
        with session.client.stream("GET", file.url, headers=_headers(part)) as response:
            answer = Answer(response.status_code, response.headers, datetime.now(UTC))
            verdict = judge(answer, Held(offset, file.size_bytes, part.info))
            if _act(verdict, part):
                _take(response.iter_raw(), part, session, on_progress)
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        msg = f"{file.name}: {file.url} leads nowhere: {error}; {file.by_hand}"
        raise SourceError(msg) from error
    except httpx2.TransportError as error:
        if problem := certificate_problem(error):
            msg = f"{file.name}: {file.url}: {problem}"
            raise SourceError(msg) from error
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise TransientError(reason) from error


def _may_resume(part: PartFile) -> bool:
    """Whether a splice of two states of the file would be noticed."""
    checked = part.file.md5 or part.file.sha256
    return part.offset == 0 or bool(part.info.validator or checked)


def _headers(part: PartFile) -> dict[str, str]:
    headers = dict(part.file.headers)
    if part.offset:
        headers["Range"] = f"bytes={part.offset}-"
        if part.info.validator:
            headers["If-Range"] = part.info.validator
    return headers


def _act(verdict: Verdict, part: PartFile) -> bool:
    """Do what the verdict says; whether the body is to be taken."""
    file = part.file
    if verdict.action == "refuse":
        msg = f"{file.name}: {file.url}: {verdict.reason}; {file.by_hand}"
        raise SourceError(msg)
    if verdict.action == "retry":
        raise TransientError(verdict.reason, verdict.retry_after_seconds)
    if verdict.action == "forget":
        part.restart(ResumeInfo.of(file))
        raise TransientError(verdict.reason, retry_after_seconds=0.0)
    if verdict.action == "complete":
        part.end_here()
    if verdict.action == "restart":
        part.restart(verdict.info or ResumeInfo.of(file))
    return verdict.action in ("append", "restart")


def _take(
    chunks: Iterator[bytes], part: PartFile, session: Session, on_progress: OnProgress
) -> None:
    total = part.total_bytes
    for chunk in chunks:
        session.policy.raise_if_stopped()
        if total is not None and part.offset + len(chunk) > total:
            part.restart(ResumeInfo.of(part.file))
            reason = f"the server sent more than the {total:,} bytes that it is to have"
            raise TransientError(reason)
        part.append(chunk)
        _tell(part, on_progress)
    if total is None:
        part.end_here()
    elif part.offset < total:
        reason = f"the server ended after {part.offset:,} of {total:,} bytes"
        raise TransientError(reason)


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


def _tell(part: PartFile, on_progress: OnProgress) -> None:
    on_progress(Transfer(part.file.name, part.offset, part.total_bytes))
